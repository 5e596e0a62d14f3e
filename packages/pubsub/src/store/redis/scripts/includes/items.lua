-- max_items: the oldest retained items go, their log entries stay (delivery.md §1.4). Returns their ids. O(evicted).
local function evict(t, items, order)
  local surplus = redis.call('ZCARD', order) - t.max
  if surplus <= 0 then return {} end
  local evicted = redis.call('ZRANGE', order, 0, surplus - 1)
  if t.nr == '1' then
    for _, item_id in ipairs(evicted) do append(t, 'retracted', '1', { 'i', item_id, 'e', '1' }) end
  end
  in_chunks('ZREM', order, evicted)
  in_chunks('HDEL', items, evicted)
  return evicted
end

local function field_of(entry, name)
  for i = 1, #entry, 2 do if entry[i] == name then return entry[i + 1] end end
  return nil
end

-- Removes an entry and those that the same item had before it from the log; their numbers stay (delivery.md §1.4).
local function withdraw(t, newest)
  local seq = newest
  while seq and seq >= t.first and seq > t.wd do
    local e = redis.call('XRANGE', KEYS[2], id(seq), id(seq))[1]
    if not e then return end
    t.bytes = t.bytes - (tonumber(field_of(e[2], 'z')) or 0)
    redis.call('XDEL', KEYS[2], id(seq))
    seq = tonumber(field_of(e[2], 'v'))
  end
end

-- No item is retained, and every payload that the log has counts as withdrawn; erase-withdrawn then removes them in steps.
local function withdraw_all(t, items, order)
  redis.call('UNLINK', items, order)
  t.wd = t.before
  t.bytes = (t.seq - t.first + 1) * 256
end
