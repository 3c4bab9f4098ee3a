-- What the scripts about chords share; the loader puts it behind library.lua, before each of them.
--
-- The keys (`B` is P celery-taskset-meta-<group id>; `place` a member's index, or +inf without one):
--
--   Celery's own
--     B       string  the document of the group: how the header was nested, or what the user saved
--     B.s     string  how many members were sent
--     B.t     string  how many were added since
--     B.j     zset    part -> its place; a list where result_chord_ordered is off
--     B.d     set     "<member id>:<place>" of every part that is in, so that it counts once; ours: "+<member id>", added since
--     B.c     string  who finishes the chord: a token of Celery's, or our "celeriac:<member id>:<place>"; then "done"
--   Ours
--     B.b     hash    body: of the chord; size, seen: its members, and how many parts were in, when one of us looked last
--     P celeriac-chords  zset  open chord -> its last progress, as far as we know: what Celery adds shows in `seen`
--
-- All of them expire; but for the last they are renewed with every part.  Celery takes a chord as finished by deleting B.j
-- and B.s, or by B.s alone when a member has failed; and it counts B.j, so every part has to be a member of its own there.

local LISTED_S = 30 * 86400
local CLOSED_MS, CLOSED_MIN_MS = 86400000, 300000  -- as in core/workflow.py

local function kind_of(key)
  return redis.call('TYPE', key)['ok']
end

local function count(parts, kind)
  return redis.call(kind == 'list' and 'LLEN' or 'ZCARD', parts)
end

-- Renew what is kept of a chord. The group's document may be meant to be kept for longer.
local function renew(base, expires_s)
  if expires_s == '0' then
    return
  end
  for _, suffix in ipairs({'.s', '.t', '.j', '.d', '.b'}) do
    redis.call('EXPIRE', base .. suffix, expires_s)
  end
  local left_ms = redis.call('PTTL', base)
  if left_ms >= 0 and left_ms < expires_s * 1000 then
    redis.call('EXPIRE', base, expires_s)
  end
end

local function list_chord(chords, group, expires_s)
  redis.call('ZADD', chords, now(), group)
  redis.call('EXPIRE', chords, math.max(LISTED_S, tonumber(expires_s)))
end

-- Note down what has been seen of a chord.
local function note(notes, ended, size)
  redis.call('HSET', notes, 'seen', ended)
  if size then
    redis.call('HSET', notes, 'size', size)
  end
end

local function open_chord(chords, head, group, size, expires_s, body)
  local base = head .. group
  if redis.call('GET', base .. '.c') == 'done' then
    return
  end
  redis.call('SET', base .. '.s', size)
  redis.call('HSET', base .. '.b', 'size', size)
  if body ~= '' then
    redis.call('HSET', base .. '.b', 'body', body)
  end
  renew(base, expires_s)
  if not redis.call('ZSCORE', chords, group) then
    list_chord(chords, group, expires_s)
  end
end

local function add_in_place(parts, place, payload)
  if string.byte(payload) == 91 then  -- "[": JSON, to which blanks do no harm
    -- One frozen signature may stand twice in a header, and give the same part for two places.
    local there = redis.call('ZSCORE', parts, payload)
    while there and tonumber(there) ~= tonumber(place) do
      payload = payload .. ' '
      there = redis.call('ZSCORE', parts, payload)
    end
  end
  redis.call('ZADD', parts, place, payload)
end

-- Add a member's part to its chord, unless it is in; returns whether this member has to finish the chord.
local function join(chords, head, in_order, group, member, place, expires_s, payload, body)
  local base, identity = head .. group, member .. ':' .. place
  local claim, size, added = unpack(redis.call('MGET', base .. '.c', base .. '.s', base .. '.t'))
  if claim == 'done' then
    return false
  end
  local parts, counted, notes = base .. '.j', base .. '.d', base .. '.b'
  local kind = kind_of(parts)
  if kind == 'none' then
    kind = in_order == '1' and 'zset' or 'list'
  end
  local is_new = redis.call('SISMEMBER', counted, identity) == 0
  if is_new and claim and size and count(parts, kind) >= size + (added or 0) then
    return false  -- what comes while somebody finishes the chord can't change any more what is told of it
  end
  if is_new then
    if kind == 'list' then
      redis.call('RPUSH', parts, payload)
    else
      add_in_place(parts, place, payload)
    end
    redis.call('SADD', counted, identity)
  end
  local ended = count(parts, kind)
  if is_new then
    note(notes, ended, size)
    if body ~= '' then
      redis.call('HSETNX', notes, 'body', body)
    end
    list_chord(chords, group, expires_s)
  end
  renew(base, expires_s)
  if not size or ended < size + (added or 0) then
    return false
  end
  local ours = 'celeriac:' .. identity
  if claim and claim ~= ours then
    return false
  end
  redis.call('SET', base .. '.c', ours)
  if expires_s ~= '0' then
    redis.call('EXPIRE', base .. '.c', expires_s)
  end
  return true
end

-- Have somebody else finish the chord that the member in this envelope was to finish: it is given back, and may come to a
-- worker of Celery's, which knows no claim but its own.
local function release_chord(head, envelope)
  local group = string.match(envelope, '"group"%s*:%s*"([^"\\]+)"')
  local member = group and string.match(envelope, '"id"%s*:%s*"([^"\\]+)"')
  if not member then
    return
  end
  local claim, ours = head .. group .. '.c', 'celeriac:' .. member .. ':'
  if string.sub(redis.call('GET', claim) or '', 1, #ours) == ours then
    redis.call('UNLINK', claim)
  end
end

-- Forget all of a chord but that it is closed.
local function close_chord(chords, head, group)
  local base = head .. group
  redis.call('ZREM', chords, group)
  if redis.call('GET', base .. '.c') == 'done' then
    return
  end
  local kept_ms = -1
  for _, suffix in ipairs({'.s', '.j', '.c'}) do
    kept_ms = math.max(kept_ms, redis.call('PTTL', base .. suffix))
  end
  if kept_ms < 0 then
    kept_ms = CLOSED_MS
  end
  redis.call('UNLINK', base .. '.s', base .. '.t', base .. '.j', base .. '.d', base .. '.b')
  redis.call('SET', base .. '.c', 'done', 'PX', math.max(kept_ms, CLOSED_MIN_MS))
end

-- What there is to tell of a chord that stands in `celeriac-chords` since `since` (or does not); nil: it is not open any more.
local function look_at(chords, head, group, since)
  local base = head .. group
  local parts, notes = base .. '.j', base .. '.b'
  local claim, size, added = unpack(redis.call('MGET', base .. '.c', base .. '.s', base .. '.t'))
  local body, seen, known_size = unpack(redis.call('HMGET', notes, 'body', 'seen', 'size'))
  local ended = count(parts, kind_of(parts))
  if claim == 'done' or (not size and (ended == 0 or known_size)) then
    redis.call('ZREM', chords, group)
    redis.call('UNLINK', notes)
    return nil
  end
  if not since or ended > tonumber(seen or 0) then
    since = string.format('%.6f', now())
    redis.call('ZADD', chords, since, group)
    note(notes, ended, size)
    local left_ms = redis.call('PTTL', size and base .. '.s' or parts)
    if left_ms > 0 then
      redis.call('PEXPIRE', notes, left_ms)
    end
  end
  return {group, size and size + (added or 0) or '', ended, since, claim and 1 or 0, body or ''}
end

-- Look at the chords that have seen no progress for longest, until `wanted` open ones are found; at `most` at all.
local function look_at_oldest(chords, head, wanted, most)
  local found = {}
  local oldest = redis.call('ZRANGE', chords, 0, most - 1, 'WITHSCORES')
  for i = 1, #oldest, 2 do
    if #found >= wanted then
      break
    end
    found[#found + 1] = look_at(chords, head, oldest[i], oldest[i + 1])
  end
  return found
end
