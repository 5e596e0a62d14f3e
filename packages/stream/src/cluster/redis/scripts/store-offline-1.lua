--[[
  Keeps one message for an account that is away.

  Why a script: the bounds must hold however many write to the account at once.

  KEYS[1]  <prefix>{u:<bare JID>}:offline   stream, fields m (message), t (bytes since it was last empty)
  ARGV[1]  message
  ARGV[2]  most messages
  ARGV[3]  most bytes

  Returns  {"stored"}
           {"full"}
  Cost     O(1)
]]
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local total = #ARGV[1] + (last and tonumber(last[2][4]) or 0)
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[2]) or total > tonumber(ARGV[3]) then return { 'full' } end
redis.call('XADD', KEYS[1], '*', 'm', ARGV[1], 't', total)
return { 'stored' }
