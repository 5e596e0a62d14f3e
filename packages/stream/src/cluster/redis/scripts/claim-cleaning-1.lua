--[[
  Takes on the cleaning up behind a dead instance, or holds on to it for longer.

  Why a script: one cleaner at a time, and another one when that one dies in it (delivery.md §7.1).

  KEYS[1]  <prefix>instances   hash, instanceId -> "live <counter>" | "dead" | "cleaning <by> <until>"
  ARGV[1]  instanceId of the dead
  ARGV[2]  instanceId of the cleaner
  ARGV[3]  for how long (ms)

  Returns  {"yours"}
           {"theirs", "<state>"}   somebody else cleans, or it lives
           {"gone"}                cleaned already
  Cost     O(1)
]]
local state = redis.call('HGET', KEYS[1], ARGV[1])
if not state then return { 'gone' } end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if state ~= 'dead' then
  local by, til = string.match(state, '^cleaning (%S+) (%d+)$')
  if not by or (by ~= ARGV[2] and tonumber(til) > now) then return { 'theirs', state } end
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('cleaning %s %.0f', ARGV[2], now + ARGV[3]))
return { 'yours' }
