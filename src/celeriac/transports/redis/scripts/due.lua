-- Move what is due to the heads of its lists.
--
-- KEYS: delayed sets
-- ARGV: most messages
-- Returns seconds until the next message is due (as text), at most an hour.

local LONGEST_S = 3600

local time = now()
local rest = tonumber(ARGV[1])
for _, delayed in ipairs(KEYS) do
  rest = rest - move_due(delayed, time, rest)
  if rest <= 0 then
    return '0'
  end
end
return tostring(next_due(KEYS, time, LONGEST_S))
