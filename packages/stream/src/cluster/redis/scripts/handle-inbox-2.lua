--[[
  Takes handled entries out of an inbox.

  Why a script: the sum of bytes must stay that of the entries, also when the instance and
  its cleaner take out the same one.

  KEYS[1]  <prefix>{i:<instanceId>}:inbox         stream
  KEYS[2]  <prefix>{i:<instanceId>}:inbox-bytes   string, bytes of its entries
  ARGV     entry id, its bytes; entry id, its bytes; …

  Returns  {"handled"}
  Cost     O(entries named)
]]
local bytes = 0
for i = 1, #ARGV, 2 do
  if redis.call('XDEL', KEYS[1], ARGV[i]) == 1 then bytes = bytes + tonumber(ARGV[i + 1]) end
end
if redis.call('XLEN', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[2])
elseif bytes > 0 then
  redis.call('DECRBY', KEYS[2], bytes)
end
return { 'handled' }
