--[[
  Makes the empty inbox of an instance. One that is there stays as it is.

  Why a script: an empty Redis stream comes from adding an entry and deleting it, and no
  sender may come between the two.

  KEYS[1]  <prefix>{i:<instanceId>}:inbox         stream
  KEYS[2]  <prefix>{i:<instanceId>}:inbox-bytes   string, bytes of its entries

  Returns  {"made"} | {"there"}
  Cost     O(1)
]]
if redis.call('EXISTS', KEYS[1]) == 1 then return { 'there' } end
local id = redis.call('XADD', KEYS[1], '*', 'k', '', 'b', '')
redis.call('XDEL', KEYS[1], id)
redis.call('DEL', KEYS[2])
return { 'made' }
