--[[
  Declares an instance dead, if its counter still stands where the judge saw it stand, or if
  it says so itself.

  Why a script: a heartbeat that arrives just before the verdict must win; the verdict falls
  once (delivery.md §7.1).

  KEYS[1]  <prefix>instances   hash, instanceId -> "live <counter>" | "dead" | "cleaning <by> <until>"
  ARGV[1]  instanceId
  ARGV[2]  the counter that stood still; "" when the instance itself leaves

  Returns  {"dead"}                by this call
           {"changed", "<state>"}  it beat again, was declared dead before, or is gone ("")
  Cost     O(1)
]]
local state = redis.call('HGET', KEYS[1], ARGV[1])
local lives = state and string.sub(state, 1, 5) == 'live '
if not lives or (ARGV[2] ~= '' and state ~= 'live ' .. ARGV[2]) then return { 'changed', state or '' } end
redis.call('HSET', KEYS[1], ARGV[1], 'dead')
return { 'dead' }
