--[[
  Enters an account into the list of accounts.

  Why a script: durable writes are scripts; an account must not be left out of the list by a failover.

  KEYS[1]  <prefix>accounts   zset, all scores 0
  ARGV[1]  entry

  Returns  {"listed"}
  Cost     O(log accounts)
]]
redis.call('ZADD', KEYS[1], 0, ARGV[1])
return { 'listed' }
