--[[
  Takes an entry out of the list of accounts.

  Why a script: durable writes are scripts.

  KEYS[1]  <prefix>accounts   zset, all scores 0
  ARGV[1]  entry

  Returns  {"unlisted"}
  Cost     O(log accounts)
]]
redis.call('ZREM', KEYS[1], ARGV[1])
return { 'unlisted' }
