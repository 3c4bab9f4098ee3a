-- Settle a batch of claims: for each, publish what follows, store the results, then settle it; or nothing of it at all.
--
-- KEYS: claims, queues
-- ARGV: the result backend's database and the broker's (both empty if results are not stored here), seconds that dead
--       letters are kept, then for each settlement: its tag; its verdict with what that needs
--           A                                  done with
--           R  envelope                        back to the head of its list; an empty envelope: unchanged
--           D  dead  dead-times  id  reason    parked
--       the number of follow-ups and for each: list, envelope, queue, delayed set and time (both empty: no delay);
--       the number of results and for each: key, seconds that it is kept (0: for ever), document
-- Returns the numbers (1..) of the settlements whose claim is no longer there.

local claims, queues = KEYS[1], KEYS[2]
local backend_db, broker_db, keep_s = ARGV[1], ARGV[2], ARGV[3]
local at = 4

local function following()
  local argument = ARGV[at]
  at = at + 1
  return argument
end

-- Read one settlement whole, then carry it out if its claim is there; returns whether it was.
local function settle()
  local tag, verdict = following(), following()
  local replacement, dead, dead_times, id, reason
  if verdict == 'R' then
    replacement = following()
  elseif verdict == 'D' then
    dead, dead_times, id, reason = following(), following(), following(), following()
  end
  local follow_ups_at = at + 1
  at = follow_ups_at + 5 * tonumber(ARGV[at])
  local follow_ups_end = at - 1
  local results_at = at + 1
  at = results_at + 3 * tonumber(ARGV[at])
  local results_end = at - 1

  local envelope = ''
  if verdict ~= 'A' then
    envelope = redis.call('HGET', claims, tag)
  end
  if not envelope or redis.call('HEXISTS', claims, tag) == 0 then
    return false
  end
  for i = follow_ups_at, follow_ups_end, 5 do
    if ARGV[i + 4] == '' then
      redis.call('LPUSH', ARGV[i], ARGV[i + 1])
    else
      redis.call('ZADD', ARGV[i + 3], ARGV[i + 4], pack(ARGV[i], ARGV[i + 1]))
    end
    redis.call('SADD', queues, ARGV[i + 2])
  end
  if results_at <= results_end then
    if backend_db ~= broker_db then
      redis.call('SELECT', backend_db)  -- for this script only
    end
    for i = results_at, results_end, 3 do
      store_result(ARGV[i], ARGV[i + 1], ARGV[i + 2])
    end
    if backend_db ~= broker_db then
      redis.call('SELECT', broker_db)
    end
  end
  if verdict == 'R' then
    redis.call('RPUSH', list_of(tag), replacement == '' and envelope or replacement)
  elseif verdict == 'D' then
    park(dead, dead_times, id, reason, list_of(tag), envelope, keep_s)
  end
  -- Last: had one of the commands above failed (a right is missing, a key is of another type), the claim would remain.
  redis.call('HDEL', claims, tag)
  return true
end

local lost = {}
local number = 0
while at <= #ARGV do
  number = number + 1
  if not settle() then
    lost[#lost + 1] = number
  end
end
return lost
