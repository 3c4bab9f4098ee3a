-- Take a lease or renew it.
--
-- KEYS: workers, claims
-- ARGV: lease, seconds that it lasts, whether it is new (1 or 0)
-- Returns 1, or 0 if the lease to be renewed is gone or fenced: somebody takes over, or has taken over, its claims.
-- A lease that has run out unnoticed is simply renewed: nothing was taken.

if ARGV[3] == '0' then
  local lease_end = redis.call('ZSCORE', KEYS[1], ARGV[1])
  if not lease_end or tonumber(lease_end) <= 0 then
    return 0
  end
else
  -- The claim script takes messages before it can write down that it did: see now whether it will be able to.
  redis.call('HSET', KEYS[2], '', '')
  redis.call('HDEL', KEYS[2], '')
end
redis.call('ZADD', KEYS[1], now() + tonumber(ARGV[2]), ARGV[1])
return 1
