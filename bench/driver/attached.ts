import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { Endpoint } from './client.ts';
import type { ServerNeeds, ServerUnderTest } from './server.ts';

/**
 * A server that somebody else started: a peer, or an instance with a configuration of its own. Described by a JSON file:
 *
 *     { "name": "ejabberd 23.01", "pid": 4711, "host": "127.0.0.1", "starttlsPort": 5222, "directTlsPort": 5223,
 *       "domain": "localhost", "broker": "pubsub.localhost", "caFile": "ca.pem",
 *       "userPattern": "platform-%", "password": "secret", "accounts": 5000 }
 *
 * `%` in `userPattern` stands for the account's number, from 1. File names are relative to the description.
 *
 * @throws Error when the file is not such a description or has too few accounts
 */
export function attachServer(file: string, needs: ServerNeeds): ServerUnderTest {
  const description: unknown = JSON.parse(readFileSync(file, 'utf8'));
  if (typeof description !== 'object' || description === null) throw new Error(`${file} does not hold an object`);
  const fields = description as Record<string, unknown>;
  const text = (name: string): string => {
    const value = fields[name];
    if (typeof value !== 'string') throw new Error(`${file}: "${name}" must be a text`);
    return value;
  };
  const number = (name: string): number => {
    const value = fields[name];
    if (typeof value !== 'number' || !Number.isInteger(value)) throw new Error(`${file}: "${name}" must be a whole number`);
    return value;
  };
  if (needs.credential === 'certificate') throw new Error('client certificates are only made for servers that the bench starts');
  if (number('accounts') < needs.accounts) throw new Error(`${file}: this run needs ${needs.accounts} accounts`);
  const password = text('password');
  const endpoint: Endpoint = {
    host: text('host'),
    starttlsPort: number('starttlsPort'),
    directTlsPort: number('directTlsPort'),
    domain: text('domain'),
    broker: text('broker'),
    ca: readFileSync(resolve(dirname(file), text('caFile')), 'utf8'),
  };
  return {
    name: text('name'),
    pids: [number('pid')],
    instances: [{ pid: number('pid'), endpoint }],
    accounts: Array.from({ length: needs.accounts }, (_, i) => ({
      user: text('userPattern').replace('%', String(i + 1)),
      password,
    })),
    async stop() {}, // not ours to stop
  };
}
