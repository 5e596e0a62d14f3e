--[[
  Puts a message into an instance's inbox.

  Why a script: the bound must hold however many send at once, and a message for an instance
  that is gone must not make an inbox that nobody reads (delivery.md §7.3).

  KEYS[1]  <prefix>{i:<instanceId>}:inbox         stream
  KEYS[2]  <prefix>{i:<instanceId>}:inbox-bytes   string, bytes of its entries
  ARGV[1]  kind
  ARGV[2]  body
  ARGV[3]  most entries
  ARGV[4]  most bytes

  Returns  {"sent", "<entry id>"}
           {"full"}
           {"no-such-instance"}
  Cost     O(1)
]]
if redis.call('EXISTS', KEYS[1]) == 0 then return { 'no-such-instance' } end
local bytes = #ARGV[1] + #ARGV[2]
local before = tonumber(redis.call('GET', KEYS[2]) or '0')
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[3]) or before + bytes > tonumber(ARGV[4]) then return { 'full' } end
local id = redis.call('XADD', KEYS[1], 'NOMKSTREAM', '*', 'k', ARGV[1], 'b', ARGV[2])
redis.call('SET', KEYS[2], before + bytes)
return { 'sent', id }
