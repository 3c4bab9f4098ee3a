-- Write moves on a board, each only where what stands there is what was expected.
--
-- KEYS: board
-- ARGV: seconds that the board is kept, then for each move: field, 1 and what stands there (0 and '': nothing),
--       1 and what is to stand there (0 and '': nothing)
-- Returns a 1 or a 0 for each.

local answers = {}
for i = 2, #ARGV, 5 do
  answers[#answers + 1] = move(KEYS[1], ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return answers
