import { randomBytes } from 'node:crypto';
import type { Logger } from '@xmpp-grid/stream';
import { type Durability, JID, RedisConnections } from '@xmpp-grid/stream';

/** Lines that were logged, for tests that look for one. */
export interface RecordedLog extends Logger {
  readonly lines: { readonly level: string; readonly fields: Record<string, unknown>; readonly message: string }[];
}

export function recordedLog(): RecordedLog {
  const lines: RecordedLog['lines'] = [];
  const at = (level: string) => (fields: object, message: string) => {
    lines.push({ level, fields: fields as Record<string, unknown>, message });
  };
  return { lines, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

/** Connections under a key prefix of the test's own. */
export function connect(
  url: string,
  options: { log?: Logger; keyPrefix?: string; durability?: Durability | 'auto'; commandTimeoutMs?: number } = {},
): Promise<RedisConnections> {
  return RedisConnections.open(
    {
      servers: { kind: 'standalone', url },
      keyPrefix: options.keyPrefix ?? `test-${randomBytes(6).toString('hex')}:`,
      durability: options.durability ?? { kind: 'memory' },
      ...(options.commandTimeoutMs === undefined ? {} : { commandTimeoutMs: options.commandTimeoutMs }),
    },
    { log: options.log ?? recordedLog(), retryMs: 20 },
  );
}

export const account = (name: string): JID => JID.parse(`${name}@grid.example`);
