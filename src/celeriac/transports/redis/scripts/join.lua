-- Add parts to their chords.
--
-- KEYS: celeriac-chords
-- ARGV: what the keys of chords begin with, 1 if parts stand in order, then for each part: group id, member id, place,
--       seconds that it is kept (0: for ever), the part, the body's signature or nothing
-- Returns for each part 1 if its member has to finish the chord, else 0.

local finishes = {}
for i = 3, #ARGV, 6 do
  local is_finisher = join(
    KEYS[1], ARGV[1], ARGV[2], ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5]
  )
  finishes[#finishes + 1] = is_finisher and 1 or 0
end
return finishes
