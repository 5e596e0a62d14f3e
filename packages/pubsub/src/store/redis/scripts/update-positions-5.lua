--[[
  Writes what consumers acknowledged: numbers, delegations and the watermark of one instance, all or nothing (delivery.md §5).

  Why a script: a watermark and the set of those it speaks for must change together, and merge with other instances' writes.

  KEYS[1]  xg:{t:NODE}:topic   KEYS[2]  xg:{t:NODE}:log   KEYS[3]  xg:{t:NODE}:subscriptions   KEYS[4]  xg:{t:NODE}:positions
  KEYS[5]  xg:{t:NODE}:marks
  ARGV[1]  instance   ARGV[2], ARGV[3]  watermark: seq and uid ('' = none)   ARGV[4]  number of those to settle
  ARGV[5…]  bare JID, resource with its slash or '', seq, uid: first those to settle, then those to delegate

  Returns  {"gone"} or {"written", {refused JIDs; '' alone = the watermark, and nothing was written}}
  Cost     O(JIDs)
]]
local f = redis.call('HMGET', KEYS[1], 'ct', 'seq', 'uid', 'first')
if not f[1] then return { 'gone' } end
local head, head_uid, first = tonumber(f[2]), f[3], tonumber(f[4])
local uids = {}
-- What the log no longer holds cannot be compared; to stand there means to have missed what went, no more.
local function is_of_log(seq, uid)
  if seq > head then return false end
  if seq < first then return true end
  if seq == head then return uid == head_uid end
  if uids[seq] == nil then
    local at = string.format('%d-0', seq)
    local e = redis.call('XRANGE', KEYS[2], at, at)[1]
    uids[seq] = e and e[2][2] or false
  end
  return not uids[seq] or uids[seq] == uid
end
local function parse(value)
  local seq, uid, rest = string.match(value, '^(%d+) (%x*)(.*)$')
  return tonumber(seq), uid, rest
end

local before = redis.call('HGET', KEYS[5], ARGV[1])
local mark = before and parse(before) or 0
if ARGV[2] ~= '' then
  local seq = tonumber(ARGV[2])
  if not is_of_log(seq, ARGV[3]) then return { 'written', { '' } } end
  if seq > mark then
    redis.call('HSET', KEYS[5], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
    mark = seq
  end
end
local refused, settled = {}, tonumber(ARGV[4])
local index = 0
for i = 5, #ARGV, 4 do
  index = index + 1
  local account, jid, seq, uid = ARGV[i], ARGV[i] .. ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3]
  local raw, is_subscribed = redis.call('HGET', KEYS[3], account), false
  for _, s in ipairs(raw and cjson.decode(raw) or {}) do
    if s[1] == ARGV[i + 1] and s[2] == 's' then is_subscribed = true end
  end
  if not is_subscribed or not is_of_log(seq, uid) then
    refused[#refused + 1] = jid
  else
    local delegations = ''
    local old = redis.call('HGET', KEYS[4], jid)
    local acknowledged = seq
    if old then
      local old_seq, old_uid, rest = parse(old)
      if old_seq >= seq then seq, uid = old_seq, old_uid end
      for other in string.gmatch(rest, '@([^ ]+)') do
        -- A delegation whose watermark says no more than the number itself has served its time.
        local theirs = other ~= ARGV[1] and redis.call('HGET', KEYS[5], other)
        if theirs and parse(theirs) > seq then delegations = delegations .. ' @' .. other end
      end
    end
    -- One below the watermark would lose what it has not seen.
    if index > settled and acknowledged >= mark then delegations = delegations .. ' @' .. ARGV[1] end
    redis.call('HSET', KEYS[4], jid, string.format('%d', seq) .. ' ' .. uid .. delegations)
  end
end
return { 'written', refused }
