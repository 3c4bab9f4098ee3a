-- Set the sizes of chords; what is closed stays so, and what is in stays in.
--
-- KEYS: celeriac-chords
-- ARGV: what the keys of chords begin with, then for each chord: group id, size, seconds that it is kept (0: for ever), body

for i = 2, #ARGV, 4 do
  open_chord(KEYS[1], ARGV[1], ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
end
look_at_oldest(KEYS[1], ARGV[1], 3, 3)  -- so that what Celery has finished goes, though nobody should ever ask
return 1
