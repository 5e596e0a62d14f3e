--[[
  Removes the inbox of a dead instance once it is empty.

  Why a script: a sender that came in between must not lose its message.

  KEYS[1]  <prefix>{i:<instanceId>}:inbox         stream
  KEYS[2]  <prefix>{i:<instanceId>}:inbox-bytes   string, bytes of its entries

  Returns  {"removed"} | {"not-empty"}
  Cost     O(1)
]]
if redis.call('XLEN', KEYS[1]) > 0 then return { 'not-empty' } end
redis.call('DEL', KEYS[1], KEYS[2])
return { 'removed' }
