--[[
  Gives up one resource, if the field still names this session.

  Why a script: the session may have been displaced in between; its end must not drop the
  claim of the session that displaced it (delivery.md §7.2).

  KEYS[1]  <prefix>{u:<bare JID>}:sessions   hash, resource -> "<instanceId> <sessionId> <since>"
  ARGV[1]  resource
  ARGV[2]  sessionId

  Returns  {"dropped"}
           {"kept", "<owner>"}   another session's, or "" when there is no field
  Cost     O(1)
]]
local owner = redis.call('HGET', KEYS[1], ARGV[1])
if not owner then return { 'kept', '' } end
if string.match(owner, '^%S+ (%S+)') ~= ARGV[2] then return { 'kept', owner } end
redis.call('HDEL', KEYS[1], ARGV[1])
return { 'dropped' }
