--[[
  Removes every retained item and withdraws every payload of the log; numbers stay.

  Why a script: no reader may see an item go while another stays.

  KEYS[1..3]  topic, log, bell (includes/topic.lua)   KEYS[4]  xg:{t:NODE}:items   KEYS[5]  xg:{t:NODE}:order
  ARGV[1..8]  as in includes/topic.lua

  Returns  {"done", …}; {"gone"}; {"stale"}. The caller runs erase-withdrawn until nothing is left.
  Cost     O(1)
]]
-- @include topic
-- @include items
local t, why = open_topic()
if not t then return { why } end
t.before = t.seq
append(t, 'purged', ARGV[7], {})
withdraw_all(t, KEYS[4], KEYS[5])
save(t)
ring(t)
return done(t, {})
