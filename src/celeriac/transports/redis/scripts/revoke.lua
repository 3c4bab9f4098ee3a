-- Keep revocations where every worker finds them.
--
-- KEYS: revoked, revoked-news, revoked-ends
-- ARGV: for each: task id, when it ends, JSON

local time = now()
local last = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')
-- Microseconds, and always ahead of the last: a worker that asks for what is above the last it saw misses nothing.
local serial = math.max(math.floor(time * 1000000), tonumber(last[2] or 0))
for i = 1, #ARGV, 3 do
  if tonumber(ARGV[i + 1]) > time and redis.call('HGET', KEYS[1], ARGV[i]) ~= ARGV[i + 2] then  -- said twice is once
    serial = serial + 1
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
    redis.call('ZADD', KEYS[2], serial, ARGV[i])
    redis.call('ZADD', KEYS[3], ARGV[i + 1], ARGV[i])
  end
end
local longest = redis.call('ZREVRANGE', KEYS[3], 0, 0, 'WITHSCORES')
if longest[2] then
  for _, key in ipairs(KEYS) do
    redis.call('EXPIREAT', key, math.ceil(tonumber(longest[2])))
  end
end
return 1
