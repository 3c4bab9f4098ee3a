-- Drop dead letters and revocations that are over.
--
-- KEYS: revoked, revoked-news, revoked-ends, then for each queue: dead, dead-times
-- ARGV: seconds that dead letters are kept, most to drop of each kind

local time = now()

-- The newest revocation stays until there is a newer one, or until the keys end: were its serial number gone, workers that have
-- seen it would take the server for one that has lost its memory, and be told all the others again.
local newest = redis.call('ZREVRANGE', KEYS[2], 0, 0)[1]
local ended = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', time, 'LIMIT', 0, ARGV[2])) do
  if id ~= newest then
    ended[#ended + 1] = id
  end
end
if #ended > 0 then
  redis.call('HDEL', KEYS[1], unpack(ended))
  redis.call('ZREM', KEYS[2], unpack(ended))
  redis.call('ZREM', KEYS[3], unpack(ended))
end
for i = 4, #KEYS, 2 do
  local old = redis.call('ZRANGEBYSCORE', KEYS[i + 1], '-inf', time - tonumber(ARGV[1]), 'LIMIT', 0, ARGV[2])
  if #old > 0 then
    redis.call('HDEL', KEYS[i], unpack(old))
    redis.call('ZREM', KEYS[i + 1], unpack(old))
  end
end
return 0
