--[[
  Gives a topic another configuration and what follows from it: a smaller max_items evicts, caching off withdraws.

  Why a script: the new configuration and what it removes are one step, guarded by the tokens of the decision.

  KEYS[1..3]  topic, log, bell (includes/topic.lua)   KEYS[4]  xg:{t:NODE}:items   KEYS[5]  xg:{t:NODE}:order
  ARGV[1..8]  as in includes/topic.lua   ARGV[9]  new configuration token   ARGV[10]  new access token, used if the access model differs
  ARGV[11]  configuration, JSON   ARGV[12..16]  access model, max_items, notify_retract, persist_items, caching off

  Returns  {"done", …} with the ids that were evicted; {"gone"}; {"stale"}
  Cost     O(evicted)
]]
-- @include topic
-- @include items
local t, why = open_topic()
if not t then return { why } end
local was_off = t.off
t.ct = ARGV[9]
if t.am ~= ARGV[12] then t.at = ARGV[10] end
t.max, t.nr, t.persist, t.off = tonumber(ARGV[13]), ARGV[14], ARGV[15], ARGV[16]
t.before = t.seq
append(t, 'configured', ARGV[7], {})
redis.call('HSET', KEYS[1], 'config', ARGV[11], 'am', ARGV[12], 'max', ARGV[13], 'nr', ARGV[14], 'persist', ARGV[15], 'off', ARGV[16])
-- From here on no payload of it may be anywhere (delivery.md §9.2).
if t.off == '1' and was_off ~= '1' then withdraw_all(t, KEYS[4], KEYS[5]) end
local evicted = evict(t, KEYS[4], KEYS[5])
save(t)
ring(t)
return done(t, evicted)
