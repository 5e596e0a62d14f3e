--[[
  Removes a topic from an account's index, unless somebody wrote the entry anew since it was read (delivery.md §2.7).

  Why a script: compare and delete.

  KEYS[1]  xg:{u:BARE}:topics   hash, node → token
  ARGV[1]  node   ARGV[2]  token that was read

  Returns  1 when removed, else 0
  Cost     O(1)
]]
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
