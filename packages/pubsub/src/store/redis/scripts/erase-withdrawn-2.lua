--[[
  Removes withdrawn payloads from a log, some at a time: a purge answers at once, its bytes go in steps.

  Why a script: which entries are published ones and their removal are of one moment.

  KEYS[1]  xg:{t:NODE}:topic   KEYS[2]  xg:{t:NODE}:log
  ARGV[1]  most entries looked at in this step

  Returns  1 while there may be more, else 0
  Cost     O(entries looked at)
]]
local f = redis.call('HMGET', KEYS[1], 'wd', 'we')
local wd, we = tonumber(f[1] or '0'), tonumber(f[2] or '0')
if we >= wd then return 0 end
local most = tonumber(ARGV[1])
local some = redis.call('XRANGE', KEYS[2], string.format('%d-0', we + 1), string.format('%d-0', wd), 'COUNT', most)
local published = {}
for _, e in ipairs(some) do
  we = tonumber(string.match(e[1], '^%d+'))
  if e[2][6] == 'published' then published[#published + 1] = e[1] end
end
for from = 1, #published, 1000 do
  redis.call('XDEL', KEYS[2], unpack(published, from, math.min(from + 999, #published)))
end
if #some < most then we = wd end
redis.call('HSET', KEYS[1], 'we', string.format('%d', we))
return we < wd and 1 or 0
