import type { RedisAddress } from '@xmpp-grid/stream';

/** `host:port`, with an IPv6 address in brackets; undefined for anything else. */
export function parseRedisNode(text: string): RedisAddress | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9A-Za-z._-]{1,253})):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  const host = match?.[1] ?? match?.[2];
  return host === undefined || port < 1 || port > 65_535 ? undefined : { host, port };
}
