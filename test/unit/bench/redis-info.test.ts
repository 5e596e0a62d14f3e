import { describe, expect, it } from 'vitest';
import { addUses, parseCommandUses, parseDataMemory, usesBetween } from '../../../bench/driver/redis-info.ts';

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
  it('gives calls and time of each command, also of those with a subcommand', () => {
    expect(parseCommandUses(COMMANDS)).toEqual({
      evalsha: { calls: 1024, micros: 46_080 },
      'client|setinfo': { calls: 7, micros: 9 },
    });
  });

  it('is refused when it is another section', () => {
    expect(() => parseCommandUses(MEMORY)).toThrow('commandstats');
  });
});

describe('uses of commands', () => {
  const before = { evalsha: { calls: 10, micros: 400 }, ping: { calls: 3, micros: 3 } };

  it('of several servers are added', () => {
    expect(addUses([before, { evalsha: { calls: 5, micros: 50 } }])).toEqual({
      evalsha: { calls: 15, micros: 450 },
      ping: { calls: 3, micros: 3 },
    });
  });

  it('between two readings leave out what was not called, most frequent first', () => {
    const after = { ping: { calls: 3, micros: 3 }, get: { calls: 2, micros: 2 }, evalsha: { calls: 40, micros: 1_900 } };
    expect(Object.entries(usesBetween(before, after))).toEqual([
      ['evalsha', { calls: 30, micros: 1_500 }],
      ['get', { calls: 2, micros: 2 }],
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
