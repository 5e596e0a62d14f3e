--[[
  One page of the retained items, in the order of their publication (XEP-0059).

  Why a script: place, count and items of one moment.

  KEYS[1]  xg:{t:NODE}:order   KEYS[2]  xg:{t:NODE}:items
  ARGV[1]  "after", "before", "last" or "index"   ARGV[2]  item id, or the index   ARGV[3]  most items

  Returns  {"unknown-key"} or {"page", count, index, {item id, value, …}}
  Cost     O(log retained + items)
]]
local count, max = redis.call('ZCARD', KEYS[1]), tonumber(ARGV[3])
local from, to
if ARGV[1] == 'after' or ARGV[1] == 'before' then
  local rank = redis.call('ZRANK', KEYS[1], ARGV[2])
  if not rank then return { 'unknown-key' } end
  if ARGV[1] == 'after' then from, to = rank + 1, rank + max else from, to = math.max(0, rank - max), rank - 1 end
elseif ARGV[1] == 'last' then
  from, to = math.max(0, count - max), count - 1
else
  from = tonumber(ARGV[2])
  to = from + max - 1
end
local found = {}
if max > 0 and to >= from then
  for _, item_id in ipairs(redis.call('ZRANGE', KEYS[1], from, to)) do
    found[#found + 1] = item_id
    found[#found + 1] = redis.call('HGET', KEYS[2], item_id)
  end
end
return { 'page', count, math.min(from, count), found }
