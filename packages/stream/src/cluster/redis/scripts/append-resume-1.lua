--[[
  Adds a stanza to the state of a session that waits to be resumed.

  Why a script: whoever takes the state takes the stanza with it, or leaves it to be sent on
  (delivery.md §6.3).

  KEYS[1]  <prefix>{u:<bare JID>}:resume   hash, SM-ID -> "<expiry, ms of Redis's clock> <state>"
  ARGV[1]  SM-ID
  ARGV[2]  line that is added to the state
  ARGV[3]  most bytes of the state

  Returns  {"kept"}
           {"gone"}   taken, expired, or never there
           {"full"}
  Cost     O(bytes of the state)
]]
local field = redis.call('HGET', KEYS[1], ARGV[1])
if not field then return { 'gone' } end
local time = redis.call('TIME')
if tonumber(string.match(field, '^(%d+) ')) <= time[1] * 1000 + math.floor(time[2] / 1000) then return { 'gone' } end
if #field + #ARGV[2] > tonumber(ARGV[3]) then return { 'full' } end
redis.call('HSET', KEYS[1], ARGV[1], field .. '\n' .. ARGV[2])
return { 'kept' }
