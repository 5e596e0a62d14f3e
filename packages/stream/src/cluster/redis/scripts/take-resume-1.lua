--[[
  Takes the state of one resumable session.

  Why a script: of two streams that resume one session, one gets it (delivery.md §6.2).

  KEYS[1]  <prefix>{u:<bare JID>}:resume   hash, SM-ID -> "<expiry, ms of Redis's clock> <state>"
  ARGV[1]  SM-ID

  Returns  {"taken", "<state>"}
           {"none"}   never there, taken before, or expired
  Cost     O(1)
]]
local field = redis.call('HGET', KEYS[1], ARGV[1])
if not field then return { 'none' } end
redis.call('HDEL', KEYS[1], ARGV[1])
local time = redis.call('TIME')
local expiry, state = string.match(field, '^(%d+) (.*)$')
if tonumber(expiry) <= time[1] * 1000 + math.floor(time[2] / 1000) then return { 'none' } end
return { 'taken', state }
