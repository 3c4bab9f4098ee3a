-- Look at open chords: at those named, or at those that have seen no progress for longest.
--
-- KEYS: celeriac-chords
-- ARGV: what the keys of chords begin with, how many of the oldest are wanted, how many are looked at for that, group ids
-- Returns for each: group id, size (empty: not known), parts that are in, time of the last progress, 1 if claimed, body.

local chords, head = KEYS[1], ARGV[1]
if #ARGV == 3 then
  return look_at_oldest(chords, head, tonumber(ARGV[2]), tonumber(ARGV[3]))
end
local found = {}
for i = 4, #ARGV do
  found[#found + 1] = look_at(chords, head, ARGV[i], redis.call('ZSCORE', chords, ARGV[i]))
end
return found
