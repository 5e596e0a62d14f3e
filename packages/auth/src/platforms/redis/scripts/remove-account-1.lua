--[[
  Removes an account that still has the version on which the writer decided.

  Why a script: what somebody wrote since must not go unseen.

  KEYS[1]  <prefix>{u:<bare JID>}:account   hash, v version, r record, t token
  ARGV[1]  version that was read

  Returns  {"removed", "<token of its entry in the list>"}
           {"stale"}
  Cost     O(1)
]]
if redis.call('HGET', KEYS[1], 'v') ~= ARGV[1] then return { 'stale' } end
local token = redis.call('HGET', KEYS[1], 't')
redis.call('DEL', KEYS[1])
return { 'removed', token }
