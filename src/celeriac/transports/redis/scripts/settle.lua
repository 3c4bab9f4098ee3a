-- Settle a batch of claims: for each, join the chords that it belongs to, publish what follows, store the results, close
-- chords that are over with it, then settle it; or nothing of it at all. One that makes a chord complete waits for what
-- follows from that: of it nothing is done yet but the joining.
--
-- KEYS: claims, queues
-- ARGV: the result backend's database and the broker's, celeriac-chords, what the keys of chords begin with, 1 if parts stand
--       in order (all five empty if results are not stored here), seconds that dead letters are kept, the number of claims that
--       are done with and from which nothing follows, and their tags, then for each other
--       settlement: its tag; if it has to do with chords: a J, the number of parts and for each what join.lua takes, the
--       number of chords that are closed with it and for each the group id; its verdict with what that needs
--           A                                  done with
--           R  envelope                        back to the head of its list; an empty envelope: unchanged
--           D  dead  dead-times  id  reason    parked
--       the number of follow-ups and for each: list, envelope, queue, delayed set and time (both empty: no delay);
--       the number of results and for each: key, seconds that it is kept (0: for ever), document
-- Returns the numbers (1.., in the order of ARGV) of the settlements whose claim is no longer there, and {number, group id} of each that waits.

local claims, queues = KEYS[1], KEYS[2]
local backend_db, broker_db, chords, head, in_order, keep_s = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local first_plain = 8
local at = first_plain + tonumber(ARGV[7])

local function following()
  local argument = ARGV[at]
  at = at + 1
  return argument
end

-- Step over so many items of so many arguments each; returns where the first and the last of them stand.
local function span(width)
  local first = at + 1
  at = first + width * tonumber(ARGV[at])
  return first, at - 1
end

local function in_backend(act, ...)
  if backend_db == broker_db then
    return act(...)
  end
  redis.call('SELECT', backend_db)  -- for this script only
  local answer = act(...)
  redis.call('SELECT', broker_db)
  return answer
end

-- Join parts; returns the first chord that is complete with one, and is not closed with this settlement.
local function join_all(first, last, closing)
  for i = first, last, 6 do
    local group = ARGV[i]
    local is_finisher =
      join(chords, head, in_order, group, ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5])
    if is_finisher and not closing[group] then
      return group
    end
  end
end

local function store_all(first, last)
  for i = first, last, 3 do
    store_result(ARGV[i], ARGV[i + 1], ARGV[i + 2])
  end
end

local function close_all(closing)
  for group in pairs(closing) do
    close_chord(chords, head, group)
  end
end

-- Read one settlement whole, then carry it out; returns true if it was, false if its claim is not there, or the chord that
-- it waits for.
local function settle()
  local tag, verdict = following(), following()
  local closing, parts_at, parts_end
  if verdict == 'J' then
    parts_at, parts_end = span(6)
    closing = {}
    local closes_at, closes_end = span(1)
    for i = closes_at, closes_end do
      closing[ARGV[i]] = true
    end
    verdict = following()
  end
  local replacement, dead, dead_times, id, reason
  if verdict == 'R' then
    replacement = following()
  elseif verdict == 'D' then
    dead, dead_times, id, reason = following(), following(), following(), following()
  end
  local follow_ups_at, follow_ups_end = span(5)
  local results_at, results_end = span(3)

  local envelope = ''
  if verdict ~= 'A' then
    envelope = redis.call('HGET', claims, tag)
  end
  if not envelope or redis.call('HEXISTS', claims, tag) == 0 then
    return false
  end
  if closing then
    local waits_for = in_backend(join_all, parts_at, parts_end, closing)
    if waits_for then
      return waits_for
    end
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
    in_backend(store_all, results_at, results_end)
  end
  if closing then
    in_backend(close_all, closing)
  end
  if verdict == 'R' then
    if head ~= '' then
      in_backend(release_chord, head, envelope)
    end
    redis.call('RPUSH', list_of(tag), replacement == '' and envelope or replacement)
  elseif verdict == 'D' then
    park(dead, dead_times, id, reason, list_of(tag), envelope, keep_s)
  end
  -- Last: had one of the commands above failed (a right is missing, a key is of another type), the claim would remain.
  redis.call('HDEL', claims, tag)
  return true
end

local answers = {}
local number = tonumber(ARGV[7])
while at <= #ARGV do
  number = number + 1
  local outcome = settle()
  if not outcome then
    answers[#answers + 1] = number
  elseif outcome ~= true then
    answers[#answers + 1] = {number, outcome}
  end
end
-- Last, because a command that fails above makes the caller repeat the whole batch.
for i = first_plain, first_plain + ARGV[7] - 1 do
  if redis.call('HDEL', claims, ARGV[i]) == 0 then
    answers[#answers + 1] = i - first_plain + 1
  end
end
return answers
