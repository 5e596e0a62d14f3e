--[[
  Forgets a dead instance behind which everything is clean.

  Why a script: only who still holds the cleaning may say that it is done (delivery.md §7.1).

  KEYS[1]  <prefix>instances   hash, instanceId -> "live <counter>" | "dead" | "cleaning <by> <until>"
  ARGV[1]  instanceId of the dead
  ARGV[2]  instanceId of the cleaner

  Returns  {"gone"}
           {"theirs", "<state>"}
  Cost     O(1)
]]
local state = redis.call('HGET', KEYS[1], ARGV[1])
if not state then return { 'gone' } end
if string.match(state, '^cleaning (%S+) %d+$') ~= ARGV[2] then return { 'theirs', state } end
redis.call('HDEL', KEYS[1], ARGV[1])
return { 'gone' }
