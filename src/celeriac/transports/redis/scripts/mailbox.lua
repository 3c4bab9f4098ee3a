-- Keep a direct mailbox for a while, or end it; and end those that nobody has kept, of processes that are gone.
--
-- KEYS: mailboxes, the deadlines of Celery's tables, [the table of the mailbox's exchange, its list]
-- ARGV: [seconds to keep it (0: end it), its member in the table, the exchange, seconds that the table is kept]

local function end_mailbox(entry)
  local table_key, at = unpack_at(entry, 1)
  local member, at = unpack_at(entry, at)
  local list = unpack_at(entry, at)
  redis.call('SREM', table_key, member)
  redis.call('DEL', list)
  redis.call('ZREM', KEYS[1], entry)
end

local time = now()
if ARGV[1] then
  local entry = pack(KEYS[3], ARGV[2], KEYS[4])
  if tonumber(ARGV[1]) > 0 then
    redis.call('SADD', KEYS[3], ARGV[2])
    redis.call('ZADD', KEYS[1], time + tonumber(ARGV[1]), entry)
    -- In milliseconds, as Celery has it: until then its processes leave the table alone.
    redis.call('ZADD', KEYS[2], 'GT', math.floor((time + tonumber(ARGV[4])) * 1000), ARGV[3])
  else
    end_mailbox(entry)
  end
end
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', time, 'LIMIT', 0, 100)) do
  end_mailbox(entry)
end
