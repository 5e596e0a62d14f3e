--[[
  Claims one resource of one account for one session, and drops the fields of dead instances.

  Why a script: two instances may bind one full JID in the same millisecond; the later claim
  must see the earlier one, or both sessions live (RFC 6120 §7.7.2.2).

  KEYS[1]  <prefix>{u:<bare JID>}:sessions   hash, resource -> "<instanceId> <sessionId> <since>"
  ARGV[1]  resource
  ARGV[2]  owner, "<instanceId> <sessionId> <since>"
  ARGV[3]  most resources of the account (count)
  ARGV[4]  how many instance ids follow that are known to live
  ARGV[5…] those ids, then the ids known to be dead

  Returns  {"bound", "<previous owner>"}   "" when the resource was free
           {"full",  "<resources now>"}
           {"judge", "<instanceId>", …}    claims of these: say whether they live, and call again
  Cost     O(resources of the account)
]]
local known, dead = {}, {}
local liveCount = tonumber(ARGV[4])
for i = 5, #ARGV do
  known[ARGV[i]] = true
  if i > 4 + liveCount then dead[ARGV[i]] = true end
end
local fields = redis.call('HGETALL', KEYS[1])
local unknown, gone = { 'judge' }, {}
for i = 1, #fields, 2 do
  local instance = string.match(fields[i + 1], '^(%S+)')
  if not known[instance] then
    known[instance] = true
    unknown[#unknown + 1] = instance
  end
  if dead[instance] then gone[#gone + 1] = fields[i] end
end
if #unknown > 1 then return unknown end
for _, resource in ipairs(gone) do redis.call('HDEL', KEYS[1], resource) end
local previous = redis.call('HGET', KEYS[1], ARGV[1])
if not previous then
  local count = redis.call('HLEN', KEYS[1])
  if count >= tonumber(ARGV[3]) then return { 'full', tostring(count) } end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return { 'bound', previous or '' }
