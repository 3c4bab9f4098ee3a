-- Make queues known, with their exchanges and bindings, to us and to Celery's senders.
--
-- KEYS: queues, then a key for each entry
-- ARGV: the number of queues, their names, then for each entry: field (empty: KEYS is a set), member or value

local queues = tonumber(ARGV[1])
for i = 1, queues do
  redis.call('SADD', KEYS[1], ARGV[1 + i])
end
for i = 2, #KEYS do
  local field, value = ARGV[queues + 2 * i - 2], ARGV[queues + 2 * i - 1]
  if field == '' then
    redis.call('SADD', KEYS[i], value)
  else
    redis.call('HSET', KEYS[i], field, value)
  end
end
return queues
