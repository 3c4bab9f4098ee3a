-- One step of a caller or a worker with the key of a unique task. The rules are those of `core/unique.py`, told once more,
-- because a step has to be one with what it finds; both pass the same tests.
--
-- KEYS: the lock, a hash: h holder, u its until, p its phase (queued, running, ended), w window_until, f follower, fu its until;
--       r:<id> for each call that was replaced, by whom; x until when those are kept
-- ARGV: step, task id, then by step
--   take     hold_s, window_s, on_conflict
--   undo     id of the call that was replaced, or ''
--   arrive   until, on_conflict, hold_s, wait_s, window_s
--   hold     hold_s, 1 for exactly or 0, 1 for anew or 0
--   release
-- Returns verdict and id.

local key, step, id = KEYS[1], ARGV[1], ARGV[2]
local time = now()
local found = redis.call('HMGET', key, 'h', 'u', 'p', 'w', 'f', 'fu', 'x')
local lock = nil
local marks_until = tonumber(found[7] or 0)

local function following(l)
  if l.f == '' then
    return nil
  end
  return {h = l.f, u = l.fu, p = 'queued', w = 0, f = '', fu = 0}
end

if found[1] then
  lock = {h = found[1], u = tonumber(found[2]), p = found[3], w = tonumber(found[4]), f = found[5], fu = tonumber(found[6])}
  if lock.f ~= '' and lock.fu <= time then
    lock.f, lock.fu = '', 0
  end
  if lock.u <= time then
    lock = following(lock)
  end
end

local function released()
  if lock and lock.f == id then
    lock.f, lock.fu = '', 0
  elseif lock and lock.h == id then
    if lock.w > time then
      lock.p, lock.u = 'ended', lock.w
    else
      lock = following(lock)
    end
  end
end

-- Remember that a call must not run any more.
local function mark(other, kept_until)
  if other ~= '' then
    redis.call('HSET', key, 'r:' .. other, id)
    marks_until = math.max(marks_until, kept_until)
  end
end

local function take(hold_s, window_s, on_conflict)
  local until_ = time + math.max(hold_s, window_s)
  local window_until = window_s > 0 and time + window_s or 0
  if not lock then
    lock = {h = id, u = until_, p = 'queued', w = window_until, f = '', fu = 0}
    return 'taken', ''
  end
  if lock.h == id and lock.p ~= 'ended' then
    lock.u = math.max(lock.u, until_)
    return 'taken', ''
  end
  if lock.f == id then
    lock.fu = math.max(lock.fu, until_)
    return 'follows', ''
  end
  if on_conflict == 'replace' and lock.p == 'queued' and lock.f == '' then
    local old = lock.h
    mark(old, lock.u)
    lock = {h = id, u = until_, p = 'queued', w = math.max(window_until, lock.w), f = '', fu = 0}
    return 'replaced', old
  end
  if on_conflict == 'replace' or (on_conflict == 'queue' and lock.f == '') then
    local old = lock.f
    mark(old, lock.fu)
    lock.f, lock.fu = id, math.max(until_, lock.u + hold_s)
    return 'follows', old
  end
  if on_conflict == 'queue' then
    return 'duplicate', lock.f
  end
  return 'duplicate', lock.h
end

local function undo(replaced)
  local restored = replaced
  if restored ~= '' and redis.call('HEXISTS', key, 'r:' .. restored) == 0 then
    restored = ''
  end
  if lock and lock.h == id then
    if restored ~= '' then
      lock.h = restored
    else
      lock = following(lock)
    end
  elseif lock and lock.f == id then
    lock.f = restored
    if restored == '' then
      lock.fu = 0
    end
  else
    restored = ''
  end
  if restored ~= '' then
    redis.call('HDEL', key, 'r:' .. restored)
  end
  return 'done', ''
end

local function arrive(until_what, on_conflict, hold_s, wait_s, window_s)
  local by = redis.call('HGET', key, 'r:' .. id)
  if by then
    return 'gone', by
  end
  if lock and lock.f == id then
    lock.fu = math.max(lock.fu, time + wait_s)
    return 'wait', lock.h
  end
  local mine = lock and lock.h == id
  if until_what == 'started' then
    released()
    return 'run', ''
  end
  if until_what == 'window' then
    if mine then
      if lock.w == 0 then
        lock.w = time + window_s
      end
      lock.p, lock.u = 'running', lock.w
    end
    return 'run', ''
  end
  if not lock then
    lock = {h = id, u = time + hold_s, p = 'running', w = 0, f = '', fu = 0}
    return 'run', ''
  end
  if mine then
    lock.p, lock.u = 'running', math.max(lock.u, time + hold_s)
    return 'run', ''
  end
  if (on_conflict == 'queue' or on_conflict == 'replace') and lock.f == '' then
    lock.f, lock.fu = id, math.max(time + wait_s, lock.u + hold_s)
    return 'wait', lock.h
  end
  if lock.f ~= '' then
    return 'gone', lock.f
  end
  return 'gone', lock.h
end

local function hold(hold_s, exactly, anew)
  local until_ = time + hold_s
  if not lock then
    if anew then
      lock = {h = id, u = until_, p = 'running', w = 0, f = '', fu = 0}
    end
  elseif lock.h == id and lock.p ~= 'ended' then
    lock.u = math.max(until_, exactly and lock.w or lock.u)
  elseif lock.f == id and not exactly then
    lock.fu = math.max(until_, lock.fu)
  end
  return 'done', ''
end

local verdict, about
if step == 'take' then
  verdict, about = take(tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5])
elseif step == 'undo' then
  verdict, about = undo(ARGV[3])
elseif step == 'arrive' then
  verdict, about = arrive(ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]))
elseif step == 'hold' then
  verdict, about = hold(tonumber(ARGV[3]), ARGV[4] == '1', ARGV[5] == '1')
else
  released()
  redis.call('HDEL', key, 'r:' .. id)
  verdict, about = 'done', ''
end

local function text(number)
  return string.format('%.6f', number)
end

local latest = marks_until
if lock then
  redis.call('HSET', key, 'h', lock.h, 'u', text(lock.u), 'p', lock.p, 'w', text(lock.w), 'f', lock.f, 'fu', text(lock.fu),
    'x', text(marks_until))
  latest = math.max(latest, lock.u, lock.fu)
else
  redis.call('HDEL', key, 'h', 'u', 'p', 'w', 'f', 'fu')
  redis.call('HSET', key, 'x', text(marks_until))
  if redis.call('HLEN', key) == 1 or marks_until <= time then
    redis.call('DEL', key)
    latest = 0
  end
end
if latest > 0 then
  redis.call('PEXPIREAT', key, math.ceil(latest * 1000))
end
return {verdict, about}
