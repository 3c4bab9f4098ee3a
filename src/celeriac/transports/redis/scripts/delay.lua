-- Keep messages until they are due; where no worker of ours is alive, which alone could end the delay, put them into their
-- lists at once: Celery's workers wait for the time in the message's headers themselves, and one of ours that comes later
-- brings it back here.
--
-- KEYS: workers, delayed set
-- ARGV: for each message: when it is due, list, envelope, whether its headers tell the time (1 or 0)

local alive = redis.call('ZCOUNT', KEYS[1], now(), '+inf') > 0
for i = 1, #ARGV, 4 do
  if alive or ARGV[i + 3] == '0' then
    redis.call('ZADD', KEYS[2], ARGV[i], pack(ARGV[i + 1], ARGV[i + 2]))
  else
    redis.call('LPUSH', ARGV[i + 1], ARGV[i + 2])
  end
end
return 1
