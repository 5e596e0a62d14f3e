import { describe, expect, it } from 'vitest';
import { isChannelMessage, RespStream } from '../../support/resp-stream.ts';

describe('replies of Redis in a byte stream', () => {
  const replies = [
    '+OK\r\n',
    ':12\r\n',
    '$5\r\nhe\rlo\r\n',
    '$-1\r\n',
    '*2\r\n$1\r\na\r\n*1\r\n:1\r\n',
    '*0\r\n',
    '%1\r\n+k\r\n$1\r\nv\r\n',
    '>3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n',
    '*3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$1\r\nm\r\n',
  ];

  it.each([1, 2, 7, 1_000])('come out whole, whatever the chunks (%d bytes)', (size) => {
    const bytes = Buffer.from(replies.join(''));
    const stream = new RespStream();
    const got: string[] = [];
    for (let at = 0; at < bytes.length; at += size) {
      for (const reply of stream.push(bytes.subarray(at, at + size))) got.push(reply.toString());
    }
    expect(got).toEqual(replies);
  });

  it('tells messages of channels from others', () => {
    expect(replies.map((reply) => isChannelMessage(Buffer.from(reply)))).toEqual(
      replies.map((reply) => reply.includes('message')),
    );
  });
});
