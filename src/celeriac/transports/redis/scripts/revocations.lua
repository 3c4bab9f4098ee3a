-- Find the revocations that a worker has not seen.
--
-- KEYS: revoked, revoked-news, revoked-ends
-- ARGV: the last serial number that it has seen, most revocations
-- Returns the serial number to ask with the next time, then JSON, JSON...

local seen = tonumber(ARGV[1])
local top = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if not top[2] then
  return {'0'}
end
if tonumber(top[2]) < seen then
  seen = 0  -- the server has lost its memory
end
local news = redis.call('ZRANGEBYSCORE', KEYS[2], string.format('(%.0f', seen), '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local reply = {string.format('%.0f', seen)}
local time = now()
for i = 1, #news, 2 do
  reply[1] = string.format('%.0f', tonumber(news[i + 1]))
  local ends = redis.call('ZSCORE', KEYS[3], news[i])
  if ends and tonumber(ends) > time then
    reply[#reply + 1] = redis.call('HGET', KEYS[1], news[i])
  end
end
return reply
