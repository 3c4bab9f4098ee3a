-- Make queues known, to us and to Celery's senders.
--
-- KEYS: queues, then the sets of Celery's bindings
-- ARGV: the number of queues, their names, then the member for each set of bindings

local queues = tonumber(ARGV[1])
for i = 1, queues do
  redis.call('SADD', KEYS[1], ARGV[1 + i])
end
for i = 2, #KEYS do
  redis.call('SADD', KEYS[i], ARGV[queues + i])
end
return queues
