-- Have a chord wait for one more member, however often the same one is named.
--
-- KEYS: celeriac-chords
-- ARGV: what the keys of chords begin with, group id, the member's id, seconds that it is kept (0: for ever)

local base = ARGV[1] .. ARGV[2]
if redis.call('GET', base .. '.c') == 'done' then
  return 0
end
if redis.call('SADD', base .. '.d', '+' .. ARGV[3]) == 1 then
  redis.call('INCR', base .. '.t')
end
renew(base, ARGV[4])
return 1
