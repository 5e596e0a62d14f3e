--[[
  Says in which format the data is, and settles that for data that does not exist yet.

  Why a script: of two versions that start at once on an empty Redis only one may begin to write.

  KEYS[1]  <prefix>meta   hash, format, program
  ARGV[1]  format of data that does not exist yet
  ARGV[2]  program that makes it

  Returns  {"format", "<format of the data>", "<program that made it>"}
  Cost     O(1)
]]
if redis.call('HSETNX', KEYS[1], 'format', ARGV[1]) == 1 then redis.call('HSET', KEYS[1], 'program', ARGV[2]) end
local found = redis.call('HMGET', KEYS[1], 'format', 'program')
return { 'format', found[1], found[2] or '' }
