-- Look through a part of a delayed set for messages that may be sought.
--
-- KEYS: delayed set
-- ARGV: cursor, about how many to look at, number of ids, ids, texts one of which may stand in the headers
-- Returns the next cursor ('0' at the end), then the members in which one of the ids or texts occurs.

local IDS_TO_FIND = 8  -- more than so many are not looked for one by one

local count = tonumber(ARGV[3])
local wanted, texts = {}, {}
for i = 4, 3 + count do
  wanted[ARGV[i]] = true
  if count <= IDS_TO_FIND then
    texts[#texts + 1] = ARGV[i]
  end
end
for i = 4 + count, #ARGV do
  texts[#texts + 1] = ARGV[i]
end

local function is_sought(member)
  for _, text in ipairs(texts) do
    if string.find(member, text, 1, true) then
      return true
    end
  end
  if count > IDS_TO_FIND then
    for id in string.gmatch(member, '"id"%s*:%s*"([^"]*)"') do
      if wanted[id] then
        return true
      end
    end
  end
  return false
end

local part = redis.call('ZSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local reply = {part[1]}
for i = 1, #part[2], 2 do
  if is_sought(part[2][i]) then
    reply[#reply + 1] = part[2][i]
  end
end
return reply
