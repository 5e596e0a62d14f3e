--[[
  Makes a topic, once. A tombstone's numbers go on (delivery.md §1.5).

  Why a script: two instances may create one name at once, and the later must see the earlier.

  KEYS[1]  xg:{t:NODE}:topic          KEYS[2]  xg:{t:NODE}:log
  KEYS[3]  xg:{t:NODE}:affiliations   KEYS[4]  xg:{t:NODE}:subscriptions
  ARGV[1]  configuration token   ARGV[2]  access token   ARGV[3]  stamp, ms   ARGV[4]  creator
  ARGV[5]  configuration, JSON   ARGV[6..10]  access model, max_items, notify_retract, persist_items, caching off
  ARGV[11…]  bare JID, affiliation, repeated

  Returns  {"created", "<seq>", "<uid>"} or {"exists"}
  Cost     O(affiliations)
]]
if redis.call('HEXISTS', KEYS[1], 'ct') == 1 then return { 'exists' } end
local stone = redis.call('HMGET', KEYS[1], 'seq', 'uid')
if not stone[1] then
  redis.call('HSET', KEYS[1], 'seq', '0', 'uid', '', 'stamp', ARGV[3], 'first', '1', 'fstamp', ARGV[3], 'bytes', '0', 'wd', '0')
end
redis.call('HSET', KEYS[1], 'ct', ARGV[1], 'at', ARGV[2], 'created', ARGV[3], 'creator', ARGV[4], 'config', ARGV[5],
  'am', ARGV[6], 'max', ARGV[7], 'nr', ARGV[8], 'persist', ARGV[9], 'off', ARGV[10], 'subs', '0')
redis.call('HDEL', KEYS[1], 'dead', 'redirect')
redis.call('PERSIST', KEYS[1])
redis.call('PERSIST', KEYS[2])
for i = 11, #ARGV, 2 do redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1]) end
return { 'created', stone[1] or '0', stone[2] or '' }
