-- What the scripts share; the loader puts it before each of them.
--
-- The keys (`P` is the option global_keyprefix, Q a queue, L the name of a lease):
--
--   Celery's own
--     P Q, P Q <sep> <step>      list    envelopes; senders LPUSH, so the tail is next; one list per priority step
--     P _kombu.binding.Q ...     set     by which Celery's senders find queues
--     P _kombu.binding_deadlines zset    exchange -> until when (milliseconds) nobody may sweep its table away
--   Ours
--     P celeriac:queues          set     every queue that one of us has used: whose delays any worker looks after
--     P celeriac:workers         zset    lease -> when it runs out, by this server's clock; 0: fenced, being taken over
--     P celeriac:claims:L        hash    "<n>|<list>" -> envelope; the field is the delivery's tag. n counts up, so the
--                                        order of claims is known. Exists only while L stands in celeriac:workers
--     P celeriac:delayed:Q       zset    pack(list, envelope) -> when it is due
--     P celeriac:dead:Q          hash    id -> pack(list, reason, envelope); expires with the youngest letter
--     P celeriac:dead-times:Q    zset    id -> when it was parked; expires with the youngest letter
--     P celeriac:exchanges       hash    exchange -> its type
--     P celeriac:fanout:X        hash    queue behind the fanout exchange X -> the lease that it goes with; empty: none
--     P celeriac:fanouts         set     those exchanges
--     P celeriac:mailboxes       zset    pack(table, member, list) of direct mailboxes -> until when they are kept
--     P celeriac:board:B         hash    name -> text, see core/boards.py; expires when nobody writes to it
--     P celeriac:revoked         hash    task id -> JSON of the revocation
--     P celeriac:revoked-news    zset    task id -> serial number, by which workers find what is new
--     P celeriac:revoked-ends    zset    task id -> when it ends; all three expire with the last revocation
--
-- Times are Unix seconds of this server. A list is known by its full key, so nothing here knows about priorities.
-- A script that fails half way is not undone, so what takes a message away is always the last step.

local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

-- Texts of any content, one after the other: "<length>:<text><length>:<text>...".
local function pack(...)
  local parts = {}
  for i, text in ipairs({...}) do
    parts[i] = #text .. ':' .. text
  end
  return table.concat(parts)
end

-- The first text of a pack, and where the next one begins.
local function unpack_at(packed, from)
  local colon = string.find(packed, ':', from, true)
  local length = tonumber(string.sub(packed, from, colon - 1))
  return string.sub(packed, colon + 1, colon + length), colon + length + 1
end

-- The list to which a claim's tag says that it belongs.
local function list_of(tag)
  return string.sub(tag, string.find(tag, '|', 1, true) + 1)
end

-- Move up to `most` due messages of one delayed set to the heads of their lists, the earliest foremost; returns how many.
local function move_due(delayed, time, most)
  local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', time, 'LIMIT', 0, most)
  for i = #due, 1, -1 do
    local list, at = unpack_at(due[i], 1)
    local envelope = unpack_at(due[i], at)
    redis.call('RPUSH', list, envelope)
    redis.call('ZREM', delayed, due[i])
  end
  return #due
end

-- Seconds until the earliest message of these delayed sets is due, at most `longest`.
local function next_due(delayed_sets, time, longest)
  local wait = longest
  for _, delayed in ipairs(delayed_sets) do
    local first = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
    if first[2] then
      wait = math.min(wait, tonumber(first[2]) - time)
    end
  end
  return math.max(wait, 0)
end

local function park(dead, dead_times, id, reason, list, envelope, keep_s)
  redis.call('HSET', dead, id, pack(list, reason, envelope))
  redis.call('ZADD', dead_times, now(), id)
  redis.call('EXPIRE', dead, keep_s)
  redis.call('EXPIRE', dead_times, keep_s)
end

-- Whether a success is stored under a result's key. Celery and we write the status first; whoever does not is parsed.
local function has_success(key)
  local state = string.match(redis.call('GETRANGE', key, 0, 63), '^{%s*"status"%s*:%s*"([^"\\]*)"')
  if state then
    return state == 'SUCCESS'
  end
  local document = redis.call('GET', key)
  if not document then
    return false
  end
  local is_json, fields = pcall(cjson.decode, document)
  return is_json and type(fields) == 'table' and fields['status'] == 'SUCCESS'
end

-- Store a result and tell who waits for it, unless a success is stored already; expires_s 0: never.
local function store_result(key, expires_s, document)
  if has_success(key) then
    return
  end
  if expires_s == '0' then
    redis.call('SET', key, document)
  else
    redis.call('SET', key, document, 'EX', expires_s)
  end
  redis.call('PUBLISH', key, document)
end

-- Whether what stands on a board is what was expected.
local function stands(board, field, something, text)
  local found = redis.call('HGET', board, field)
  if something == '0' then
    return not found
  end
  return found == text
end

-- Write on a board where what stands there is what was expected; returns 1 if it was, else 0.
local function move(board, field, something, before, anything, after)
  if not stands(board, field, something, before) then
    return 0
  end
  if anything == '0' then
    redis.call('HDEL', board, field)
  else
    redis.call('HSET', board, field, after)
  end
  return 1
end
