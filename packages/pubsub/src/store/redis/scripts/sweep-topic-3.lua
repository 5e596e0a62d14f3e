--[[
  Housekeeping of one topic: trims its log by age, and forgets watermarks that the log was trimmed past (delivery.md §5.3, §9.1).

  Why a script: the oldest entry and the figures that say what it is change together.

  KEYS[1]  xg:{t:NODE}:topic   KEYS[2]  xg:{t:NODE}:log   KEYS[3]  xg:{t:NODE}:marks
  ARGV[1]  now, ms   ARGV[2..6]  retention: age ms, entries, bytes, minimum age ms, most entries trimmed now
  ARGV[7…]  instances that are dead

  Returns  {"gone"} or {"topic", {instances whose watermarks the log was trimmed past}}; those in ARGV are forgotten and not told
  Cost     O(trimmed + instances)
]]
local function id(seq) return string.format('%d-0', seq) end
-- @include trim
local f = redis.call('HMGET', KEYS[1], 'ct', 'seq', 'first', 'fstamp', 'bytes', 'wd')
if not f[1] then return { 'gone' } end
local t = { seq = tonumber(f[2]), first = tonumber(f[3]), fstamp = tonumber(f[4]), bytes = tonumber(f[5]), wd = tonumber(f[6]) }
local limits = {}
for i = 2, 6 do limits[#limits + 1] = tonumber(ARGV[i]) end
local trimmed = plan_trim(t, tonumber(ARGV[1]), limits, 0, 0)
if trimmed then
  redis.call('HSET', KEYS[1], 'first', string.format('%d', t.first), 'fstamp', string.format('%d', t.fstamp), 'bytes', string.format('%d', t.bytes))
  redis.call('XTRIM', KEYS[2], 'MINID', id(t.first))
end
local is_dead, past = {}, {}
for i = 7, #ARGV do is_dead[ARGV[i]] = true end
local marks = redis.call('HGETALL', KEYS[3])
for i = 1, #marks, 2 do
  if tonumber(string.match(marks[i + 1], '^%d+')) < t.first - 1 then
    if is_dead[marks[i]] then redis.call('HDEL', KEYS[3], marks[i]) else past[#past + 1] = marks[i] end
  end
end
return { 'topic', past }
