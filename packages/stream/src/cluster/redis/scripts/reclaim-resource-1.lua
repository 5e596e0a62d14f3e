--[[
  Writes a session's claim again, under its instance's new id or after a failover, or in place of
  the session that goes on as this one, unless the field names another session.

  Why a script: whoever bound the resource meanwhile keeps it (delivery.md §3.4, §7.2).

  KEYS[1]  <prefix>{u:<bare JID>}:sessions   hash, resource -> "<instanceId> <sessionId> <since>"
  ARGV[1]  resource
  ARGV[2]  owner, "<instanceId> <sessionId> <since>"
  ARGV[3]  sessionId that the field may name: its own or the one before

  Returns  {"claimed"}
           {"taken", "<owner>"}
  Cost     O(1)
]]
local owner = redis.call('HGET', KEYS[1], ARGV[1])
if owner and string.match(owner, '^%S+ (%S+)') ~= ARGV[3] then return { 'taken', owner } end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return { 'claimed' }
