-- Make one move on a board and publish messages, or, where something else stands there, neither.
--
-- KEYS: board, queues, workers
-- ARGV: seconds that the board is kept, the move as in board.lua, the number of announcements and for each: channel, envelope;
--       then for each message: queue, list, envelope, delayed set, when it is due, whether its headers tell the time (1 or 0; these
--       three are empty for one that is not delayed)
-- Returns 1 if it was made, else 0.

if not stands(KEYS[1], ARGV[2], ARGV[3], ARGV[4]) then
  return 0
end
local alive = redis.call('ZCOUNT', KEYS[3], now(), '+inf') > 0
local first = 8 + 2 * tonumber(ARGV[7])
for i = 8, first - 1, 2 do
  redis.call('PUBLISH', ARGV[i], ARGV[i + 1])
end
for i = first, #ARGV, 6 do
  redis.call('SADD', KEYS[2], ARGV[i])
  if ARGV[i + 3] ~= '' and (alive or ARGV[i + 5] == '0') then
    redis.call('ZADD', ARGV[i + 3], ARGV[i + 4], pack(ARGV[i + 1], ARGV[i + 2]))
  else
    redis.call('LPUSH', ARGV[i + 1], ARGV[i + 2])
  end
end
-- Last: had one of the commands above failed, it would be tried again.
move(KEYS[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6])
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
