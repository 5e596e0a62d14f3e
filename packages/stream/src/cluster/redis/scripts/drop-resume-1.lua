--[[
  Forgets every resumable session of an account.

  Why a script: durable writes are scripts; the rights that ended must not come back with a failover.

  KEYS[1]  <prefix>{u:<bare JID>}:resume   hash

  Returns  {"dropped"}
  Cost     O(states of the account)
]]
redis.call('DEL', KEYS[1])
return { 'dropped' }
