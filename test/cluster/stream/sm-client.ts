import { expect } from 'vitest';
import type { RawClient } from '../../support/raw-client.ts';
import type { StreamInstance } from '../../support/stream-cluster.ts';

/** Clients with XEP-0198, for tests of several instances. */

export const SM = 'urn:xmpp:sm:3';
export const ids = (client: RawClient): string[] =>
  client.inbox.filter((element) => element.name === 'message').map((element) => element.attrs.id as string);

export interface Enabled {
  readonly client: RawClient;
  readonly id: string;
}

export async function enabled(instance: StreamInstance, name: string): Promise<Enabled> {
  const client = await instance.login(name, 'r');
  client.send(`<enable xmlns='${SM}' resume='true'/>`);
  const reply = await client.next((element) => element.name === 'enabled', '<enabled/>');
  return { client, id: reply.attrs.id as string };
}

/** Asks to resume; resolves with `<resumed/>`, `<failed/>` or the stream error. */
export async function ask(instance: StreamInstance, name: string, id: string, h: number) {
  const client = await instance.authenticated(name);
  client.jid = `${name}@localhost/r`;
  client.send(`<resume xmlns='${SM}' previd='${id}' h='${h}'/>`);
  const reply = await client.next(
    ({ name: each }) => ['resumed', 'failed', 'stream:error'].includes(each),
    'an answer to <resume/>',
  );
  return { client, reply };
}

export async function resumed(instance: StreamInstance, name: string, id: string, h: number): Promise<RawClient> {
  const { client, reply } = await ask(instance, name, id, h);
  expect(reply.name).toBe('resumed');
  expect(reply.attrs.previd).toBe(id);
  return client;
}

export async function refused(instance: StreamInstance, name: string, id: string, h = 0): Promise<RawClient> {
  const { client, reply } = await ask(instance, name, id, h);
  expect(reply.name).toBe('failed');
  expect(reply.getChild('item-not-found')).toBeDefined();
  return client;
}
