import { describe, expect, it } from 'vitest';
import { addCalls, callsBetween, parseCommandCalls, parseDataMemory } from '../../../bench/driver/redis-info.ts';

const COMMANDS = [
  '# Commandstats',
  'cmdstat_evalsha:calls=1024,usec=46080,usec_per_call=45.00,rejected_calls=0,failed_calls=0',
  'cmdstat_client|setinfo:calls=7,usec=9,usec_per_call=1.28,rejected_calls=0,failed_calls=0',
  '',
].join('\r\n');

const MEMORY = [
  '# Memory',
  'used_memory:1000000',
  'used_memory_human:976.56K',
  'mem_clients_slaves:20000',
  'mem_clients_normal:3000',
  'mem_aof_buffer:1280',
  '',
].join('\r\n');

describe('INFO commandstats', () => {
  it('gives the calls of each command, also of those with a subcommand', () => {
    expect([...parseCommandCalls(COMMANDS)]).toEqual([
      ['evalsha', 1024],
      ['client|setinfo', 7],
    ]);
  });

  it('is refused when it is another section', () => {
    expect(() => parseCommandCalls(MEMORY)).toThrow('commandstats');
  });
});

describe('calls', () => {
  const before = new Map([
    ['evalsha', 10],
    ['ping', 3],
  ]);

  it('of several servers are added', () => {
    expect([...addCalls([before, new Map([['evalsha', 5]])])]).toEqual([
      ['evalsha', 15],
      ['ping', 3],
    ]);
  });

  it('between two readings leave out what was not called, most frequent first', () => {
    const after = new Map([
      ['ping', 3],
      ['get', 2],
      ['evalsha', 40],
    ]);
    expect(Object.entries(callsBetween(before, after))).toEqual([
      ['evalsha', 30],
      ['get', 2],
    ]);
  });
});

describe('INFO memory', () => {
  it('gives what data take, without the buffers of clients, replicas and the append-only file', () => {
    expect(parseDataMemory(MEMORY)).toBe(1_000_000 - 3_000 - 20_000 - 1_280);
  });

  it('is refused without one of the lines', () => {
    expect(() => parseDataMemory(COMMANDS)).toThrow('used_memory');
  });
});
