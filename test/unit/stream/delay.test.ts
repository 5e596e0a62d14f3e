import { dateTime, delay, serialize } from '@xmpp-grid/stream';
import { describe, expect, it } from 'vitest';

describe('XEP-0203 delay', () => {
  it('§2 carries who held it back and when it was sent, in UTC (X-017)', () => {
    expect(serialize(delay(Date.UTC(2002, 8, 10, 23, 8, 25, 7), 'broker.grid.example'))).toBe(
      "<delay xmlns='urn:xmpp:delay' from='broker.grid.example' stamp='2002-09-10T23:08:25.007Z'/>",
    );
  });

  it('XEP-0082 §3.2 dateTime, always with milliseconds (X-018)', () => {
    expect(dateTime(0)).toBe('1970-01-01T00:00:00.000Z');
    expect(dateTime(new Date('2015-07-18T09:00:00-05:00'))).toBe('2015-07-18T14:00:00.000Z');
  });

  it.each([Number.NaN, Date.UTC(10000, 0, 1), Date.UTC(-1, 0, 1)])('refuses %s', (at) =>
    expect(() => dateTime(at)).toThrow(RangeError),
  );
});
