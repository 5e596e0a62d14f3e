--[[
  Retracts those of the items that are retained, and withdraws their payloads from the log (delivery.md §1.4).

  Why a script: which of them exist, their entries and their removal are one step for every reader.

  KEYS[1..3]  topic, log, bell (includes/topic.lua)   KEYS[4]  xg:{t:NODE}:items   KEYS[5]  xg:{t:NODE}:order
  ARGV[1..8]  as in includes/topic.lua   ARGV[9…]  item ids

  Returns  {"done", …} with the ids that existed; {"gone"}; {"stale"}
  Cost     O(items and their earlier entries)
]]
-- @include topic
-- @include items
local t, why = open_topic()
if not t then return { why } end
local retracted = {}
for i = 9, #ARGV do
  local item_id = ARGV[i]
  local seq = redis.call('ZSCORE', KEYS[5], item_id)
  if seq then
    append(t, 'retracted', ARGV[7], { 'i', item_id })
    redis.call('ZREM', KEYS[5], item_id)
    redis.call('HDEL', KEYS[4], item_id)
    withdraw(t, tonumber(seq))
    retracted[#retracted + 1] = item_id
  end
end
save(t)
ring(t)
return done(t, retracted)
