-- Remove a lease under which nothing is claimed any more.
--
-- KEYS: workers, claims
-- ARGV: lease
-- Returns 1, or 0 if there are claims left.

if redis.call('HLEN', KEYS[2]) > 0 then
  return 0
end
redis.call('ZREM', KEYS[1], ARGV[1])
return 1
