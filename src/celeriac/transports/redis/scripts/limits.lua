-- Limits across the cluster: permits under the leases of those who hold them, lines of those who wait, and the pace of starts.
-- Decides as `celeriac/core/limits.py` and `celeriac/core/rates.py` do, where the why is written.
--
-- KEYS: limits
-- ARGV: what to do, owner, seconds that its lease lasts, then for
--   ask     the worker's time, near_s, horizon_s, whether it can be woken (1 or 0), then for each question: holder, task id,
--           queue, key of the permits (empty: none), how many, key of the pace (empty: none), interval_s, slot (empty: none),
--           when it expires by the worker's time (empty: never)
--           returns {{starts, after_s, slot, due}...} flat, and the woken
--   free    for each: key, how many permits, holder;  returns the woken
--   quit    for each: key, how many permits, holder, who waits no longer;  returns the woken
--   parked  for each: key, holder;  returns those of them that have been woken
--   renew   number of holds, for each: key, how many permits, holder; then for each key to be watched: key, how many permits
--           returns the woken, and all rates set at run time
--   leave   gives up the lease
-- The woken are told flat: queue, task id, due.
--
-- The keys, L being KEYS[1] and K the key of a limit:
--   L              hash    beat: when any owner was last heard of; grace: until when no lease is taken to have run out
--   L:owners       zset    owner -> when its lease runs out
--   L:rates        hash    task -> rate set at run time
--   L:held:K       hash    holder -> owner
--   L:line:K       zset    holder that waits -> when it came
--   L:line-ends:K  zset    holder that waits -> when its place is lost
--   L:waiters:K    hash    holder that waits -> pack(whether it was woken, due, queue, task id)
--   L:pace:K       hash    last, next, late, interval

local WAITERS_MAX = 1000
local WOKEN_S = 5
local WAITER_GRACE_S = 10
local FRONT_MAX = 200
local FRONT_FOR_EACH = 50
local FRONT_S = 0.1
local FRONT_LONGEST_S = 1
local LONGEST_S = 60
local KEEP_S = 3600
local NEVER = -math.huge

local base = KEYS[1]
local owners = base .. ':owners'
local time = now()
local action, owner, lease_s = ARGV[1], ARGV[2], tonumber(ARGV[3])
local at = 4

local function following()
  local argument = ARGV[at]
  at = at + 1
  return argument
end

local function text(number)
  return string.format('%.17g', number)
end

-- Note that an owner lives. When nobody was heard of for as long as a lease lasts, this store was away, and no lease has
-- run out through a fault of its owner: then all get the time to renew theirs.
local function beat()
  local last = tonumber(redis.call('HGET', base, 'beat') or nil)
  if last and time - last > lease_s then
    redis.call('HSET', base, 'grace', text(time + lease_s))
  end
  redis.call('HSET', base, 'beat', text(time))
  redis.call('ZADD', owners, time + lease_s, owner)
end

local grace = nil
local lives = {}
local function alive(name)
  if lives[name] == nil then
    local lease_end = redis.call('ZSCORE', owners, name)
    if grace == nil then
      grace = tonumber(redis.call('HGET', base, 'grace') or nil) or NEVER
    end
    lives[name] = lease_end and (tonumber(lease_end) > time or grace > time) or false
  end
  return lives[name]
end

local function leave_line(key, holder)
  redis.call('ZREM', base .. ':line:' .. key, holder)
  redis.call('ZREM', base .. ':line-ends:' .. key, holder)
  redis.call('HDEL', base .. ':waiters:' .. key, holder)
end

-- Once in a call is enough for each key, because time stands still in here; and both look at many.
local holders_seen, places_seen = {}, {}
local function clean(key, permits)
  local held = base .. ':held:' .. key
  if not holders_seen[key] and redis.call('HLEN', held) >= permits then
    holders_seen[key] = true
    local pairs_held = redis.call('HGETALL', held)
    for i = 1, #pairs_held, 2 do
      if not alive(pairs_held[i + 1]) then
        redis.call('HDEL', held, pairs_held[i])
      end
    end
  end
  if not places_seen[key] then
    places_seen[key] = true
    for _, holder in ipairs(redis.call('ZRANGEBYSCORE', base .. ':line-ends:' .. key, '-inf', time)) do
      leave_line(key, holder)
    end
  end
end

local function tell(reply, packed)
  local _, from = unpack_at(packed, 1)
  local due, queue, task_id
  due, from = unpack_at(packed, from)
  queue, from = unpack_at(packed, from)
  task_id = unpack_at(packed, from)
  reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = queue, task_id, due
end

local function wake(key, permits, reply)
  local free = permits - redis.call('HLEN', base .. ':held:' .. key)
  if free <= 0 then
    return
  end
  local waiters = base .. ':waiters:' .. key
  for _, holder in ipairs(redis.call('ZRANGE', base .. ':line:' .. key, 0, free - 1)) do
    local packed = redis.call('HGET', waiters, holder)
    if packed and string.sub(packed, 1, 3) == '1:0' then
      redis.call('HSET', waiters, holder, '1:1' .. string.sub(packed, 4))
      redis.call('ZADD', base .. ':line-ends:' .. key, 'LT', time + WOKEN_S, holder)
      tell(reply, packed)
    end
  end
end

-- The lines that this call has changed, and how many permits they are about; each is looked at once, at the end.
local changed, permits_of = {}, {}
local function note_change(key, permits)
  if not permits_of[key] then
    changed[#changed + 1] = key
  end
  permits_of[key] = permits
end

local function wake_all(reply)
  for _, key in ipairs(changed) do
    wake(key, permits_of[key], reply)
  end
end

local function take_turn(key, interval, slot, near, horizon)
  local pace = base .. ':pace:' .. key
  local known = redis.call('HMGET', pace, 'last', 'next', 'late', 'interval')
  local last, next_slot = tonumber(known[1] or nil) or NEVER, tonumber(known[2] or nil) or NEVER
  local late = tonumber(known[3] or nil) or NEVER
  if tonumber(known[4] or nil) ~= interval then
    next_slot, late = NEVER, NEVER
  end
  local earliest = math.max(time, last + interval)
  local starts, start, reserved = false, nil, nil
  if not slot then
    start = math.max(earliest, next_slot, late + interval)
    if start <= time then
      starts = true
    elseif start > time + horizon then
      return false, time + horizon, nil
    else
      next_slot, reserved = start + interval, start
    end
  else
    start = math.max(earliest, slot)
    if start <= time + near then
      starts = true
    else
      if start > slot then
        start = math.max(start, late + interval)
        late = start
      end
      reserved = start
    end
  end
  if starts then
    last = start
    next_slot = math.max(next_slot, start + interval)
  end
  redis.call('HSET', pace, 'last', text(math.max(last, 0)), 'next', text(math.max(next_slot, 0)),
    'late', text(math.max(late, 0)), 'interval', text(interval))
  local forgotten = math.max(last + interval, next_slot, late) - time
  redis.call('EXPIRE', pace, math.ceil(math.max(forgotten, 0)) + 1)
  return starts, start, reserved
end

local function ask(answers, woken)
  local asked_at, near, horizon = tonumber(following()), tonumber(following()), tonumber(following())
  local can_be_woken = following() == '1'
  local came = 0
  while at <= #ARGV do
    local holder, task_id, queue = following(), following(), following()
    local key, permits = following(), tonumber(following())
    local pace_key, interval, slot = following(), tonumber(following()), tonumber(following())
    local expires_at = tonumber(following()) or math.huge
    local held, line, waiters = base .. ':held:' .. key, base .. ':line:' .. key, base .. ':waiters:' .. key
    local starts, start, reserved, due = true, time, nil, nil
    if key ~= '' then
      clean(key, permits)
      redis.call('HDEL', held, holder)
      local ahead = redis.call('ZRANK', line, holder) or redis.call('ZCARD', line)
      if ahead >= permits - redis.call('HLEN', held) then
        starts, reserved = false, slot
        local pause = math.min(1 + ahead / (4 * permits), 2 + ahead / 100)
        if can_be_woken then
          pause = math.min(LONGEST_S, 15 + ahead * 0.05)
        elseif ahead < math.min(FRONT_FOR_EACH * permits, FRONT_MAX) then
          pause = math.min(FRONT_LONGEST_S, FRONT_S * (1 + ahead / permits))
        elseif ahead >= WAITERS_MAX then
          pause = LONGEST_S
        end
        due = asked_at + pause
        if expires_at < due then
          due = expires_at
          pause = math.max(0, due - asked_at)
        end
        start = time + pause
        if redis.call('ZSCORE', line, holder) or redis.call('ZCARD', line) < WAITERS_MAX then
          came = came + 1
          redis.call('ZADD', line, 'NX', time + came * 0.000001, holder)
          redis.call('ZADD', base .. ':line-ends:' .. key, time + pause + WAITER_GRACE_S, holder)
          redis.call('HSET', waiters, holder, pack('0', text(due), queue, task_id))
          redis.call('EXPIRE', line, KEEP_S)
          redis.call('EXPIRE', base .. ':line-ends:' .. key, KEEP_S)
          redis.call('EXPIRE', waiters, KEEP_S)
        end
      else
        leave_line(key, holder)
      end
    end
    if starts and pace_key ~= '' then
      starts, start, reserved = take_turn(pace_key, interval, slot, near, horizon)
    end
    if key ~= '' then
      if starts then
        redis.call('HSET', held, holder, owner)
        redis.call('EXPIRE', held, KEEP_S)
      end
      note_change(key, permits)
    end
    answers[#answers + 1] = starts and 1 or 0
    answers[#answers + 1] = text(start - time)
    answers[#answers + 1] = reserved and text(reserved) or ''
    answers[#answers + 1] = due and text(due) or ''
  end
  wake_all(woken)
end

local woken = {}
if action == 'leave' then
  redis.call('ZREM', owners, owner)
  return woken
elseif action == 'ask' then
  beat()
  local answers = {}
  ask(answers, woken)
  return {answers, woken}
elseif action == 'free' then
  while at <= #ARGV do
    local key, permits, holder = following(), tonumber(following()), following()
    local held = base .. ':held:' .. key
    if redis.call('HGET', held, holder) == owner then
      redis.call('HDEL', held, holder)
    end
    clean(key, permits)
    note_change(key, permits)
  end
  wake_all(woken)
  return woken
elseif action == 'quit' then
  while at <= #ARGV do
    local key, permits, holder = following(), tonumber(following()), following()
    leave_line(key, holder)
    clean(key, permits)
    note_change(key, permits)
  end
  wake_all(woken)
  return woken
elseif action == 'parked' then
  while at <= #ARGV do
    local key, holder = following(), following()
    local packed = redis.call('HGET', base .. ':waiters:' .. key, holder)
    if packed and string.sub(packed, 1, 3) == '1:1' then
      tell(woken, packed)
    end
  end
  return woken
end

-- renew
beat()
redis.call('ZREMRANGEBYSCORE', owners, '-inf', time - KEEP_S)
for _ = 1, tonumber(following()) do
  local key, permits, holder = following(), tonumber(following()), following()
  local held = base .. ':held:' .. key
  redis.call('HSETNX', held, holder, owner)
  redis.call('EXPIRE', held, KEEP_S)
end
while at <= #ARGV do
  local key, permits = following(), tonumber(following())
  clean(key, permits)
  wake(key, permits, woken)
end
return {woken, redis.call('HGETALL', base .. ':rates')}
