--[[
  Says that an instance lives, and tells it how all of them stand.

  Why a script: an instance that was declared dead must not come back to life by its own
  heartbeat; what it held is being handed out (delivery.md §7.1).

  KEYS[1]  <prefix>instances   hash, instanceId -> "live <counter>" | "dead" | "cleaning <by> <until>"
  ARGV[1]  instanceId
  ARGV[2]  its counter, higher with each call
  ARGV[3]  "join" to be entered, "beat" when it was

  Returns  {"lives", "<instanceId>", "<state>", …}   all instances, this one too
           {"fenced"}                                declared dead, or not known: take a new id
  Cost     O(instances)
]]
local own = redis.call('HGET', KEYS[1], ARGV[1])
if ARGV[3] == 'beat' and not (own and string.sub(own, 1, 5) == 'live ') then return { 'fenced' } end
if ARGV[3] == 'join' and own then return { 'fenced' } end
redis.call('HSET', KEYS[1], ARGV[1], 'live ' .. ARGV[2])
local answer = { 'lives' }
for _, each in ipairs(redis.call('HGETALL', KEYS[1])) do answer[#answer + 1] = each end
return answer
