-- What may go from the log's old end: past the retention and older than its minimum age (delivery.md §9.1). Changes the
-- figures alone; the caller trims the redisStream to t.first after it has appended.
-- limits: age ms, entries, bytes, minimum age ms, most entries trimmed in one step
local function plan_trim(t, now, limits, new_entries, new_bytes)
  local trimmed = 0
  while trimmed < limits[5] and t.first <= t.seq do
    local is_past = t.fstamp <= now - limits[1] or t.seq - t.first + 1 + new_entries > limits[2] or t.bytes + new_bytes > limits[3]
    if not is_past or t.fstamp > now - limits[4] then break end
    local e = redis.call('XRANGE', KEYS[2], id(t.first), id(t.first))[1]
    local size = 0
    if e then
      for i = 1, #e[2], 2 do if e[2][i] == 'z' and t.first > t.wd then size = tonumber(e[2][i + 1]) end end
    end
    t.bytes = t.bytes - 256 - size
    t.first = t.first + 1
    trimmed = trimmed + 1
    local following = t.first <= t.seq and redis.call('XRANGE', KEYS[2], id(t.first), id(t.first))[1]
    -- A withdrawn number has no time of its own; it is as old as the one before it.
    if following then t.fstamp = tonumber(following[2][8]) end
  end
  return trimmed > 0
end
