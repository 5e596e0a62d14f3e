--[[
  Keeps the state of one resumable session.

  Why a script: the bound must hold, and the key must live as long as its last state.

  KEYS[1]  <prefix>{u:<bare JID>}:resume   hash, SM-ID -> "<expiry, ms of Redis's clock> <state>"
  ARGV[1]  SM-ID
  ARGV[2]  state
  ARGV[3]  for how long (ms)
  ARGV[4]  most states of the account (count)

  Returns  {"stored"}
           {"full"}
  Cost     O(states of the account)
]]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local last = now + ARGV[3]
local count = 0
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  local expiry = tonumber(string.match(fields[i + 1], '^(%d+) '))
  if expiry <= now then
    redis.call('HDEL', KEYS[1], fields[i])
  elseif fields[i] ~= ARGV[1] then
    count = count + 1
    if expiry > last then last = expiry end
  end
end
if count >= tonumber(ARGV[4]) then return { 'full' } end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f ', now + ARGV[3]) .. ARGV[2])
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', last))
return { 'stored' }
