-- Put letters into a direct mailbox, if there is one; they go with it, or when nobody has read them for long.
--
-- KEYS: the table of its exchange, its list
-- ARGV: its member in the table, milliseconds that letters are kept, envelope...

if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then
  for i = 3, #ARGV do
    redis.call('LPUSH', KEYS[2], ARGV[i])
  end
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
