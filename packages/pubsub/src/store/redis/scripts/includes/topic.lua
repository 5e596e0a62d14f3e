--[[
  What every script that changes a topic shares. Included, never run alone.

  KEYS[1]  xg:{t:NODE}:topic   KEYS[2]  xg:{t:NODE}:log   KEYS[3]  xg:{t:NODE}:bell
  ARGV[1]  configuration token that the decision read ('' = any)   ARGV[2]  access token likewise
  ARGV[3]  configuration token whose record the caller holds ('' = none)
  ARGV[4]  uid of the first entry; later ones derive from it      ARGV[5]  stamp, ms
  ARGV[6]  publisher   ARGV[7]  notify, '1' or '0'   ARGV[8]  most payload bytes that the bell carries

  Order (delivery.md §2.2): guard, XADD, hashes, trim, bell.
]]
-- %d takes whole numbers up to 2^53 in Lua 5.1, and costs a quarter of what %.0f and tostring do.
local format = string.format
local function id(seq) return format('%d-0', seq) end
local function num(n) return format('%d', n) end
local function net(s) return format('%d:', #s) .. s .. ',' end

-- Returns the topic's figures, or nil when there is no such topic.
local function read_topic()
  local f = redis.call('HMGET', KEYS[1], 'ct', 'at', 'seq', 'uid', 'stamp', 'first', 'fstamp', 'bytes', 'wd', 'max', 'nr', 'persist', 'off', 'subs', 'am', 'rw')
  if not f[1] then return nil end
  return { ct = f[1], at = f[2], seq = tonumber(f[3]), uid = f[4], stamp = tonumber(f[5]), first = tonumber(f[6]),
    fstamp = tonumber(f[7]), bytes = tonumber(f[8]), wd = tonumber(f[9]), max = tonumber(f[10]), nr = f[11],
    persist = f[12], off = f[13], subs = tonumber(f[14]), am = f[15], rw = tonumber(f[16] or nil),
    made = {}, carried = {}, bytes_carried = {}, size = 0, uids = 0 }
end

local function is_stale(t)
  return (ARGV[1] ~= '' and ARGV[1] ~= t.ct) or (ARGV[2] ~= '' and ARGV[2] ~= t.at)
end

-- Returns the topic's figures, or nil and why not.
local function open_topic()
  local t = read_topic()
  if not t then return nil, 'gone' end
  if is_stale(t) then return nil, 'stale' end
  return t
end

local function next_uid(t)
  t.uids = t.uids + 1
  if t.uids == 1 then return ARGV[4] end
  return string.sub(redis.sha1hex(ARGV[4] .. t.uids), 1, 16)
end

-- fields: flat list for log and bell. payload: {'b', bytes} or {'b', bytes, 'l', language}; a transient one is for the bell alone.
local function append(t, kind, notify, fields, payload, is_transient)
  local previous = t.uid
  local stamp = math.max(tonumber(ARGV[5]), t.stamp)
  t.seq, t.uid, t.stamp = t.seq + 1, next_uid(t), stamp
  if t.first == t.seq then t.fstamp = stamp end
  local number = num(t.seq)
  local e = { 'u', t.uid, 'q', previous, 'k', kind, 's', num(stamp), 'a', t.at, 'p', ARGV[6], 'n', notify, unpack(fields) }
  local n = #t.made + 1
  t.made[n] = { number, unpack(e) }
  t.bytes = t.bytes + 256
  if payload then
    t.carried[n] = { #payload[2], payload[4] and '+' .. payload[4] or '' }
    t.bytes_carried[#t.bytes_carried + 1] = payload[2]
    t.size = t.size + #payload[2]
    if not is_transient then
      t.bytes = t.bytes + #payload[2]
      for _, f in ipairs(payload) do e[#e + 1] = f end
    end
  else
    t.carried[n] = { -1, '' }
  end
  redis.call('XADD', KEYS[2], number .. '-0', unpack(e))
end

-- What every append changes.
local function save_head(t)
  redis.call('HSET', KEYS[1], 'seq', num(t.seq), 'uid', t.uid, 'stamp', num(t.stamp), 'first', num(t.first), 'fstamp', num(t.fstamp),
    'bytes', num(t.bytes))
end

local function save(t)
  redis.call('HSET', KEYS[1], 'ct', t.ct, 'at', t.at, 'seq', num(t.seq), 'uid', t.uid, 'stamp', num(t.stamp), 'first', num(t.first),
    'fstamp', num(t.fstamp), 'bytes', num(t.bytes), 'wd', num(t.wd), 'subs', num(t.subs))
end

-- The bell: JSON of [ct, at, seq, uid, entries without payload, [length or -1, '+' and language or ''] of each payload], a
-- newline, the payloads. Without entries when they are too big to be carried.
local function ring(t)
  if #t.made == 0 then return end
  local carries = t.size <= tonumber(ARGV[8])
  local header = cjson.encode({ t.ct, t.at, num(t.seq), t.uid, carries and t.made or false, carries and t.carried or false })
  -- Each string of some length is hashed whole by Lua: one copy less for one payload.
  local payloads = t.bytes_carried[2] and table.concat(t.bytes_carried) or t.bytes_carried[1] or ''
  redis.call('SPUBLISH', KEYS[3], header .. '\n' .. (carries and payloads or ''))
end

-- {'done', ct, at, seq, uid, entries, item ids, {config, creator, created} or {}, more}
local function done(t, item_ids, more)
  local record = {}
  if ARGV[3] ~= t.ct then record = redis.call('HMGET', KEYS[1], 'config', 'creator', 'created') end
  return { 'done', t.ct, t.at, num(t.seq), t.uid, t.made, item_ids, record, more or {} }
end

local CHUNK = 1000
local function in_chunks(command, key, list)
  for from = 1, #list, CHUNK do redis.call(command, key, unpack(list, from, math.min(from + CHUNK - 1, #list))) end
end
