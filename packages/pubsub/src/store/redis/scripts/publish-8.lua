--[[
  Publishes items: entries, retained items, eviction, trimming and the bell, or the answer that the same request had.

  Why a script: numbers without holes, one head, and a guard that holds until the entry stands (delivery.md §1, §2).

  KEYS[1..3]  topic, log, bell (includes/topic.lua)   KEYS[4]  xg:{t:NODE}:items   KEYS[5]  xg:{t:NODE}:order
  KEYS[6..8]  xg:{t:NODE}:recent:W for the window of the stamp, the one before, the one after
  ARGV[1..8]   as in includes/topic.lua
  ARGV[9..13]  retention: age ms, entries, bytes, minimum age ms, most entries trimmed now
  ARGV[14]  digest of the request ('' = none)   ARGV[15]  ms within which it is recognised
  ARGV[16…] item id, '1' with payload or '0', payload, '+' and language or '', repeated

  Returns  {"done", …} as in includes/topic.lua, with the ids that max_items evicted
           {"repeated", "<netstrings: stamp, then seq, uid, item id of each entry>"}
           {"gone"}, {"stale"}, {"full", "<bytes>"}
  Cost     O(items log retained + evicted + trimmed)
]]
-- @include topic
-- @include items
-- @include trim
local stamp, digest, recent_ms = tonumber(ARGV[5]), ARGV[14], tonumber(ARGV[15])
local t = read_topic()
if not t then return { 'gone' } end
-- Before the guard: what was done stays done, whatever changed since. No window after t.rw was ever written to.
local window = math.floor(stamp / recent_ms)
if digest ~= '' and t.rw then
  for i = 6, 8 do
    local known = window + (i == 6 and 0 or i == 7 and -1 or 1) <= t.rw and redis.call('HGET', KEYS[i], digest)
    if known then
      local length, from = string.match(known, '^(%d+):()')
      local first = tonumber(string.sub(known, from, from + tonumber(length) - 1))
      if first > stamp - recent_ms then return { 'repeated', known } end
    end
  end
end
if is_stale(t) then return { 'stale' } end

local needed, count = 0, 0
for i = 16, #ARGV, 4 do
  count = count + 1
  needed = needed + 256 + (t.off == '1' and 0 or #ARGV[i + 2])
end
local limits = {}
for i = 9, 13 do limits[#limits + 1] = tonumber(ARGV[i]) end
local is_trimmed = plan_trim(t, stamp, limits, count, needed)
if t.bytes + needed > limits[3] then return { 'full', num(t.bytes) } end

local is_kept, is_new = t.persist == '1', false
local previous, recent = {}, { net(num(stamp)) }
for i = 16, #ARGV, 4 do
  local item_id, has_payload, bytes, lang = ARGV[i], ARGV[i + 1] == '1', ARGV[i + 2], ARGV[i + 3]
  local fields, payload = { 'i', item_id }, nil
  local before = is_kept and (previous[item_id] or tonumber(redis.call('ZSCORE', KEYS[5], item_id) or nil))
  if is_kept and not before then is_new = true end
  if before and before >= t.first then fields[3], fields[4] = 'v', num(before) end
  if has_payload then
    payload = { 'b', bytes }
    if lang ~= '' then payload[3], payload[4] = 'l', string.sub(lang, 2) end
    fields[#fields + 1] = t.off == '1' and 't' or 'z'
    fields[#fields + 1] = t.off == '1' and '1' or tostring(#bytes)
  end
  append(t, 'published', '1', fields, payload, t.off == '1')
  previous[item_id] = t.seq
  local number = num(t.seq)
  local place = net(number) .. net(t.uid)
  recent[#recent + 1] = place .. net(item_id)
  if is_kept then
    -- XEP-0060 §12.9: the same item id overwrites; the item then stands where it was published last.
    redis.call('HSET', KEYS[4], item_id, place .. net(num(t.stamp)) .. net(ARGV[6]) .. net(lang) .. net(ARGV[i + 1]) .. bytes)
    redis.call('ZADD', KEYS[5], number, item_id)
  end
end
-- Without a new one there are no more items than before.
local evicted = is_new and evict(t, KEYS[4], KEYS[5]) or {}
save_head(t)
if digest ~= '' then
  redis.call('HSET', KEYS[6], digest, table.concat(recent))
  if t.rw ~= window then
    -- The first of its window, or one that came late into it.
    redis.call('PEXPIRE', KEYS[6], 3 * recent_ms)
    if not t.rw or t.rw < window then redis.call('HSET', KEYS[1], 'rw', num(window)) end
  end
end
if is_trimmed then redis.call('XTRIM', KEYS[2], 'MINID', id(t.first)) end
ring(t)
return done(t, evicted)
