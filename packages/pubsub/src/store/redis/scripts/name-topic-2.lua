--[[
  Adds a name to the list of topics or removes it, and gives the list another version if that changed it.

  Why a script: a list that changed without its version would be served from memory for ever.

  KEYS[1]  xg:topics   KEYS[2]  {xg:topics}:version
  ARGV[1]  "add" or "remove"   ARGV[2]  node   ARGV[3]  new version, random

  Returns  {"changed" or "same", "<version before>"}
  Cost     O(log topics)
]]
local before = redis.call('GET', KEYS[2]) or ''
local changed
if ARGV[1] == 'add' then changed = redis.call('ZADD', KEYS[1], 0, ARGV[2]) else changed = redis.call('ZREM', KEYS[1], ARGV[2]) end
if changed == 0 then return { 'same', before } end
redis.call('SET', KEYS[2], ARGV[3])
return { 'changed', before }
