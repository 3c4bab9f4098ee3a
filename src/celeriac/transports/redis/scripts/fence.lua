-- Find leases that have run out, and fence them: from now on nothing is claimed under them and they can not be renewed.
--
-- KEYS: workers
-- ARGV: most leases
-- Returns their names, those that others have fenced before and not finished with among them.

local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now(), 'LIMIT', 0, ARGV[1])
for _, lease in ipairs(over) do
  redis.call('ZADD', KEYS[1], 0, lease)
end
return over
