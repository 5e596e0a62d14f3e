--[[
  Changes affiliations and other people's subscriptions: one entry and a new access token for all of it.

  Why a script: the token, by which instances judge again, changes in the same step as the rights (delivery.md §8.1).

  KEYS[1..3]  topic, log, bell (includes/topic.lua)
  KEYS[4]  xg:{t:NODE}:affiliations   KEYS[5]  xg:{t:NODE}:subscriptions   KEYS[6]  xg:{t:NODE}:positions
  ARGV[1..8]  as in includes/topic.lua   ARGV[9]  new access token   ARGV[10]  number of affiliations
  ARGV[11…]  bare JID, affiliation ("none" removes); then bare JID, resource with its slash or '', state ("none" removes)

  Returns  {"done", …}; {"gone"}; {"stale"}
  Cost     O(changes)
]]
-- @include topic
-- @include subscriptions
local t, why = open_topic()
if not t then return { why } end
t.at = ARGV[9]
append(t, 'access', '0', {})
local last = 10 + 2 * tonumber(ARGV[10])
for i = 11, last, 2 do
  if ARGV[i + 1] == 'none' then redis.call('HDEL', KEYS[4], ARGV[i]) else redis.call('HSET', KEYS[4], ARGV[i], ARGV[i + 1]) end
end
for i = last + 1, #ARGV, 3 do set_subscription(t, ARGV[i], ARGV[i + 1], ARGV[i + 2]) end
save(t)
ring(t)
return done(t, {})
