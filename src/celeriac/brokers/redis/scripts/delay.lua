-- Keep messages until they are due.
--
-- KEYS: queues
-- ARGV: for each message: queue, delayed set, time, list, envelope

for i = 1, #ARGV, 5 do
  redis.call('SADD', KEYS[1], ARGV[i])
  redis.call('ZADD', ARGV[i + 1], ARGV[i + 2], pack(ARGV[i + 3], ARGV[i + 4]))
end
return 1
