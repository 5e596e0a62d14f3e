--[[
  Where a subscription stands: the greatest of its start, its own number, and the watermarks it is delegated to (delivery.md §5.3).

  Why a script: a number and a watermark read apart could both be from before a step that moved one into the other.

  KEYS[1]  xg:{t:NODE}:subscriptions   KEYS[2]  xg:{t:NODE}:positions   KEYS[3]  xg:{t:NODE}:marks
  ARGV[1]  bare JID   ARGV[2]  resource with its slash or ''

  Returns  {} without a subscription, else {"<seq>", "<uid>"}
  Cost     O(subscriptions of the account + delegations)
]]
local raw = redis.call('HGET', KEYS[1], ARGV[1])
local seq, uid
for _, s in ipairs(raw and cjson.decode(raw) or {}) do
  if s[1] == ARGV[2] then seq, uid = s[3], s[4] end
end
if not seq then return {} end
local function merge(value)
  local other, other_uid, rest = string.match(value, '^(%d+) (%x*)(.*)$')
  if tonumber(other) > seq then seq, uid = tonumber(other), other_uid end
  return rest
end
local own = redis.call('HGET', KEYS[2], ARGV[1] .. ARGV[2])
if own then
  for instance in string.gmatch(merge(own), '@([^ ]+)') do
    local watermark = redis.call('HGET', KEYS[3], instance)
    if watermark then merge(watermark) end
  end
end
return { string.format('%d', seq), uid }
