-- Delete what is ready and what is delayed in a queue.
--
-- KEYS: the queue's delayed set, its lists
-- Returns how many messages there were.

local messages = redis.call('ZCARD', KEYS[1])
for i = 2, #KEYS do
  messages = messages + redis.call('LLEN', KEYS[i])
end
redis.call('UNLINK', unpack(KEYS))
return messages
