--[[
  Deletes a topic and leaves a tombstone: its numbers, its log without payloads, perhaps a redirect (delivery.md §1.5).

  Why a script: nobody may publish to half a topic.

  KEYS[1..3]  topic, log, bell (includes/topic.lua)   KEYS[4]  xg:{t:NODE}:items   KEYS[5]  xg:{t:NODE}:order
  KEYS[6]  xg:{t:NODE}:affiliations   KEYS[7]  xg:{t:NODE}:subscriptions   KEYS[8]  xg:{t:NODE}:positions
  KEYS[9]  xg:{t:NODE}:marks
  ARGV[1..8]  as in includes/topic.lua   ARGV[9]  how long the tombstone lasts, ms   ARGV[10]  '+' and redirect, or ''

  Returns  {"done", …} with more = accounts that had an affiliation and no subscription; {"gone"}; {"stale"}
  Cost     O(affiliations)
]]
-- @include topic
-- @include items
local t, why = open_topic()
if not t then return { why } end
t.before = t.seq
append(t, 'deleted', ARGV[7], ARGV[10] ~= '' and { 'r', string.sub(ARGV[10], 2) } or {})
local answer = done(t, {})
local alone = {}
for _, account in ipairs(redis.call('HKEYS', KEYS[6])) do
  if redis.call('HEXISTS', KEYS[7], account) == 0 then alone[#alone + 1] = account end
end
answer[9] = alone
withdraw_all(t, KEYS[4], KEYS[5])
save(t)
redis.call('UNLINK', KEYS[6], KEYS[7], KEYS[8], KEYS[9])
redis.call('HDEL', KEYS[1], 'ct', 'at', 'config', 'creator', 'created', 'am', 'max', 'nr', 'persist', 'off', 'subs')
redis.call('HSET', KEYS[1], 'dead', ARGV[5])
if ARGV[10] ~= '' then redis.call('HSET', KEYS[1], 'redirect', string.sub(ARGV[10], 2)) end
redis.call('PEXPIRE', KEYS[1], ARGV[9])
redis.call('PEXPIRE', KEYS[2], ARGV[9])
ring(t)
return answer
