-- Take messages out of a delay before their time: away, or with another one in their place at the head of their list.
--
-- KEYS: delayed set
-- ARGV: for each message: member, the list of what takes its place (empty: nothing does), envelope
-- Returns how many of them were still there.

local taken = 0
for i = 1, #ARGV, 3 do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    taken = taken + 1
    if ARGV[i + 1] ~= '' then
      redis.call('RPUSH', ARGV[i + 1], ARGV[i + 2])
    end
    redis.call('ZREM', KEYS[1], ARGV[i])
  end
end
return taken
