import { afterEach, describe, expect, it } from 'vitest';
import { recordedLog } from '../../cluster/stream/support.ts';
import { StreamInstance, type StreamInstanceOptions, sharedInProcess } from '../../support/stream-cluster.ts';

/** Streams that end because of the time: RFC 6120 §4.6.4, §13.7.2.3 (C-076). */

const started: StreamInstance[] = [];
afterEach(async () => {
  for (const instance of started.splice(0)) await instance.die();
});

async function instance(options: StreamInstanceOptions): Promise<StreamInstance> {
  const made = await StreamInstance.start(sharedInProcess(recordedLog()), options);
  started.push(made);
  return made;
}

describe('time', () => {
  it('§13.7.2.3 a stream ends when the certificate that opened it does', async () => {
    const grid = await instance({ idleMs: 60_000, answerMs: 100, certificateNotAfterMs: Date.now() + 1_500 });
    const client = await grid.login('short', 'r');
    await client.marker();
    expect(await client.streamError()).toBe('reset');
  });

  it('§4.6.4 a peer that is silent is asked, and its stream ends when it does not answer', async () => {
    const grid = await instance({ idleMs: 200, answerMs: 200 });
    const client = await grid.login('silent', 'r');
    await client.next((element) => element.name === 'iq' && element.getChild('ping') !== undefined, 'a ping');
    expect(await client.streamError()).toBe('connection-timeout');
  });

  it('time in which the instance may not serve is not the peer’s silence (delivery.md §7.2)', async () => {
    const grid = await instance({ idleMs: 200, answerMs: 400 });
    const client = await grid.login('patient', 'r');
    client.tap = (element) => {
      if (element.name !== 'iq' || element.getChild('ping') === undefined) return false;
      client.send(`<iq type='result' id='${element.attrs.id}'/>`);
      return true;
    };
    grid.serves = false;
    await new Promise((resolve) => setTimeout(resolve, 1_500)); // the passing of time is the point: more than twice what ends a silent peer's stream
    grid.serves = true;
    await client.marker();
  });
});
