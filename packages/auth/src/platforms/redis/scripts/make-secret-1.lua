--[[
  Keeps a secret unless there is one, and tells the one that is kept.

  Why a script: of two instances that start at once both must go on with the secret of one, and
  with none that a failover takes back.

  KEYS[1]  <prefix>secret   string
  ARGV[1]  secret for a grid that has none

  Returns  {"secret", "<the one that is kept>"}
  Cost     O(1)
]]
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return { 'secret', redis.call('GET', KEYS[1]) }
