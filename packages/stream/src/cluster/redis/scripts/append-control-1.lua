--[[
  Appends to the control log.

  Why a script: each entry names the one before it, so that a follower sees what was trimmed
  or lost in a failover (delivery.md §8.2).

  KEYS[1]  <prefix>control   stream, fields k (kind), b (body), p (id of the entry before)
  ARGV[1]  kind
  ARGV[2]  body
  ARGV[3]  most entries that stay (at least 1)

  Returns  {"appended", "<entry id>"}
  Cost     O(1)
]]
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local before = last and last[1] or '0-0'
return { 'appended', redis.call('XADD', KEYS[1], 'MAXLEN', '=', ARGV[3], '*', 'k', ARGV[1], 'b', ARGV[2], 'p', before) }
