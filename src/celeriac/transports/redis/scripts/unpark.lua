-- Take messages out of the dead letters: back to the heads of their lists, or away.
--
-- KEYS: dead, dead-times
-- ARGV: for each message: id, the list to which it goes back (empty: delete it), envelope
-- Returns how many of them there were.

local taken = 0
for i = 1, #ARGV, 3 do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 then
    taken = taken + 1
    if ARGV[i + 1] ~= '' then
      redis.call('RPUSH', ARGV[i + 1], ARGV[i + 2])
    end
    redis.call('HDEL', KEYS[1], ARGV[i])
  end
  redis.call('ZREM', KEYS[2], ARGV[i])
end
return taken
