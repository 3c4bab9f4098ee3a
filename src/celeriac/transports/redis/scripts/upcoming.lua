-- Tell what is delayed, the earliest of each queue first.
--
-- KEYS: the queues' delayed sets
-- ARGV: most messages of each, most bytes in all
-- Returns for each set a list: when a message is due, its envelope, ...

local left = tonumber(ARGV[2])
local told = {}
for i, delayed in ipairs(KEYS) do
  told[i] = {}
  local found = redis.call('ZRANGE', delayed, 0, ARGV[1] - 1, 'WITHSCORES')
  for j = 1, #found, 2 do
    if #found[j] <= left then
      left = left - #found[j]
      local _, at = unpack_at(found[j], 1)
      table.insert(told[i], found[j + 1])
      table.insert(told[i], (unpack_at(found[j], at)))
    end
  end
end
return told
