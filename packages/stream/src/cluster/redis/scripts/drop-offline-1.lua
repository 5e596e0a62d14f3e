--[[
  Takes messages out that were read.

  Why a script: of two sessions that read the same messages, each is to hand out only those
  that it took out itself.

  KEYS[1]  <prefix>{u:<bare JID>}:offline   stream
  ARGV     entry ids

  Returns  {"dropped", "<entry id>", …}   those that were still there
  Cost     O(entries named)
]]
local answer = { 'dropped' }
for _, id in ipairs(ARGV) do
  if redis.call('XDEL', KEYS[1], id) == 1 then answer[#answer + 1] = id end
end
if redis.call('XLEN', KEYS[1]) == 0 then redis.call('DEL', KEYS[1]) end
return answer
