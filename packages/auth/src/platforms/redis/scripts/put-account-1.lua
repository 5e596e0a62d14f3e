--[[
  Writes an account over the version on which the writer decided.

  Why a script: two administrators may change one account in the same millisecond; the later
  one must see what the earlier one did.

  KEYS[1]  <prefix>{u:<bare JID>}:account   hash, v version, r record, t token
  ARGV[1]  version that was read; "" = there must be none yet
  ARGV[2]  new version
  ARGV[3]  token of the entry in the list, taken when the account is new
  ARGV[4]  record

  Returns  {"stored", "<token of its entry>"}
           {"stale"}
  Cost     O(1)
]]
if (redis.call('HGET', KEYS[1], 'v') or '') ~= ARGV[1] then return { 'stale' } end
local token = redis.call('HGET', KEYS[1], 't') or ARGV[3]
redis.call('HSET', KEYS[1], 'v', ARGV[2], 'r', ARGV[4], 't', token)
return { 'stored', token }
