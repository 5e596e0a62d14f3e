import { describe, expect, it } from 'vitest';
import { parseMachineCpu, parseStat, parseStatus } from '../../../bench/driver/proc.ts';

const STAT =
  '4711 (node) S 4700 4711 4700 0 -1 4194304 23815 0 12 0 1234 567 0 0 20 0 11 0 98765 1234567890 23456 18446744073709551615 1 1 0 0 0 0 0 4096 134300162 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0';

describe('/proc/PID/stat', () => {
  it('gives user and system time in seconds', () => {
    expect(parseStat(STAT)).toEqual({ user: 12.34, system: 5.67 });
  });

  it('counts fields after a name with spaces and parentheses', () => {
    expect(parseStat(STAT.replace('(node)', '(a) (odd name 1 2)'))).toEqual({ user: 12.34, system: 5.67 });
  });

  it.each(['', 'no parenthesis', '1 (node) S 1 2'])('refuses %j', (text) => {
    expect(() => parseStat(text)).toThrow('/proc/PID/stat');
  });
});

describe('/proc/PID/status', () => {
  const STATUS =
    'Name:\tnode\nVmPeak:\t  999 kB\nVmHWM:\t   98304 kB\nVmRSS:\t   81920 kB\nRssAnon:\t   40960 kB\nThreads:\t11\n';

  it('gives resident memory in bytes', () => {
    expect(parseStatus(STATUS)).toEqual({ rss: 81_920 * 1024, peakRss: 98_304 * 1024, anonymous: 40_960 * 1024 });
  });

  it('refuses a process without memory', () => {
    expect(() => parseStatus('Name:\tkthreadd\nThreads:\t1\n')).toThrow('VmRSS');
  });
});

describe('/proc/stat', () => {
  it('counts user, nice, system, interrupts and stolen time of all cores, not idle and waiting', () => {
    expect(parseMachineCpu('cpu  100 20 300 9000 800 5 15 60 7 0\ncpu0 1 1 1 1 1 1 1 1 0 0\nintr 5\n')).toBe(5);
  });

  it('refuses another text', () => {
    expect(() => parseMachineCpu('cpu0 1 2 3\n')).toThrow('/proc/stat');
  });
});
