--[[
  Reads entries of a log together with the figures that they are judged by.

  Why a script: head, oldest entry and entries must be of one moment, or a trimmed log looks like one with a hole.

  KEYS[1]  xg:{t:NODE}:topic   KEYS[2]  xg:{t:NODE}:log
  ARGV[1]  number after which to start   ARGV[2]  most numbers   ARGV[3]  most payload bytes, beyond the first entry

  Returns  {"gone"} or {"page", "<head seq>", "<head uid>", "<first>", "<withdrawn up to>", "<from>", "<last number of the page>",
           entries as XRANGE gives them, "<uid of the last number, if it is withdrawn and a later entry tells; else ''>", "<access token>"}
  Cost     O(entries)
]]
local f = redis.call('HMGET', KEYS[1], 'seq', 'uid', 'first', 'wd', 'at')
if not f[1] then return { 'gone' } end
local seq, first = tonumber(f[1]), tonumber(f[3])
local from = math.max(tonumber(ARGV[1]) + 1, first)
local last = math.min(seq, from - 1 + tonumber(ARGV[2]))
local entries, bytes, at, is_full = {}, 0, from, false
while at <= last and not is_full do
  local some = redis.call('XRANGE', KEYS[2], string.format('%d-0', at), string.format('%d-0', last), 'COUNT', 16)
  if #some == 0 then break end
  for _, e in ipairs(some) do
    local number = tonumber(string.match(e[1], '^%d+'))
    for i = 1, #e[2], 2 do if e[2][i] == 'z' then bytes = bytes + tonumber(e[2][i + 1]) end end
    if bytes > tonumber(ARGV[3]) and #entries > 0 then
      last = number - 1
      is_full = true
      break
    end
    entries[#entries + 1] = e
    at = number + 1
  end
end
local tells = ''
if last >= from and last < seq and at <= last then
  local later = redis.call('XRANGE', KEYS[2], string.format('%d-0', last + 1), string.format('%d-0', last + 1))[1]
  if later then tells = later[2][4] end
elseif last == seq then
  tells = f[2]
end
return { 'page', f[1], f[2], f[3], f[4], string.format('%d', from), string.format('%d', last), entries, tells, f[5] or '' }
