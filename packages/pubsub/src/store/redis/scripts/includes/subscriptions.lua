-- Sets one subscription; KEYS[5] is the subscriptions hash, KEYS[6] the positions hash. rest: resource with its slash, or ''.
local function set_subscription(t, account, rest, state)
  local raw = redis.call('HGET', KEYS[5], account)
  local list, kept, before = raw and cjson.decode(raw) or {}, {}, nil
  for _, s in ipairs(list) do
    if s[1] == rest then before = s else kept[#kept + 1] = s end
  end
  local word = string.sub(state, 1, 1)
  if state == 'none' then
    if not before then return end
    redis.call('HDEL', KEYS[6], account .. rest)
  elseif before and before[2] == word then
    return
  else
    -- What was published before the subscription took effect does not belong to it.
    kept[#kept + 1] = { rest, word, t.seq, t.uid, tonumber(ARGV[5]) }
  end
  if #kept == 0 then redis.call('HDEL', KEYS[5], account) else redis.call('HSET', KEYS[5], account, cjson.encode(kept)) end
  t.subs = t.subs + (word == 's' and 1 or 0) - (before and before[2] == 's' and 1 or 0)
end
