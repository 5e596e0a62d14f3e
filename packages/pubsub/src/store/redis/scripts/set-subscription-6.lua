--[[
  The account's own subscribe, request or unsubscribe: no entry, no new token.

  Why a script: the subscription starts at the head of the moment, under the rights that were decided on.

  KEYS[1..3]  topic, log, bell (includes/topic.lua); KEYS[4] is not used, so that the rest stand as in change-access
  KEYS[5]  xg:{t:NODE}:subscriptions   KEYS[6]  xg:{t:NODE}:positions
  ARGV[1..8]  as in includes/topic.lua   ARGV[9]  bare JID   ARGV[10]  resource with its slash or ''   ARGV[11]  state ("none" removes)

  Returns  {"done", …}; {"gone"}; {"stale"}
  Cost     O(subscriptions of the account)
]]
-- @include topic
-- @include subscriptions
local t, why = open_topic()
if not t then return { why } end
set_subscription(t, ARGV[9], ARGV[10], ARGV[11])
redis.call('HSET', KEYS[1], 'subs', num(t.subs))
return done(t, {})
