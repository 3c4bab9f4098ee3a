-- Bring delayed messages forward: to the heads of their lists, now.
--
-- KEYS: for each message its delayed set
-- ARGV: for each message: when it is due, task id
-- Returns how many were found.
--
-- A message is found by the very time at which it is due, so that this costs nothing however many wait.

local found = 0
for i, delayed in ipairs(KEYS) do
  local due, id = ARGV[2 * i - 1], ARGV[2 * i]
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', delayed, due, due)) do
    if string.find(member, id, 1, true) then
      local list, at = unpack_at(member, 1)
      local envelope = unpack_at(member, at)
      redis.call('RPUSH', list, envelope)
      redis.call('ZREM', delayed, member)
      found = found + 1
    end
  end
end
return found
