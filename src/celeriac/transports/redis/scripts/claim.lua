-- Take messages from the queues' lists and record them under a lease, in one step.
--
-- KEYS: workers, claims, then the delayed set of each queue, then the lists: of all queues for the most urgent step,
--       of all queues for the next step...
-- ARGV: lease, most messages, most bytes, n of the last claim, number of queues, number of the queue whose turn it is (0..),
--       most bytes of one envelope, then, where some queue has a limit: for each queue most messages (empty: no limit)
-- Returns -1 if the lease is not in force, else seconds until something is due (as text), tag, envelope, tag, envelope...
-- Of an envelope that is too large it returns the number of its bytes instead: it is claimed, so that it can be parked.
--
-- When there is nothing, the lists and delayed sets are looked at by reading commands: if the client has asked for it
-- (CLIENT CACHING), the server tells it of the next change to any of them.  Looking and asking being one step, no
-- message can arrive unnoticed in between.

local BATCH = 50        -- popped at once
local DUE_AT_ONCE = 100
local LONGEST_S = 3600

local time = now()
-- To add nothing is to read, but by a writing command: a change to the workers' leases shall ring no bell.
local lease_end = redis.call('ZADD', KEYS[1], 'XX', 'INCR', 0, ARGV[1])
if not lease_end or tonumber(lease_end) <= time then
  return -1
end

local claims = KEYS[2]
local rest, bytes, n = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local queues, turn = tonumber(ARGV[5]), tonumber(ARGV[6])
local largest = tonumber(ARGV[7])
local reply = {'0'}

local delayed_sets = {}
for i = 1, queues do
  delayed_sets[i] = KEYS[2 + i]
  move_due(KEYS[2 + i], time, DUE_AT_ONCE)
end

-- Take up to `most` from a list; returns whether the list may hold more.
local function take(list, most)
  while most > 0 and bytes > 0 do
    local batch = math.min(most, BATCH)
    local envelopes = redis.call('RPOP', list, batch)
    if not envelopes then
      return false
    end
    local fields, taken = {}, 0
    for i, envelope in ipairs(envelopes) do
      if bytes <= 0 then  -- back to where they were, the last first
        for j = #envelopes, i, -1 do
          redis.call('RPUSH', list, envelopes[j])
        end
        break
      end
      taken = i
      n = n + 1
      local tag = string.format('%d|%s', n, list)
      fields[2 * i - 1], fields[2 * i] = tag, envelope
      local told = envelope
      if #envelope > largest then
        told = #envelope
      else
        bytes = bytes - #envelope
      end
      reply[#reply + 1], reply[#reply + 2] = tag, told
    end
    redis.call('HSET', claims, unpack(fields))
    rest = rest - taken
    most = most - taken
    if #envelopes < batch then
      return false
    end
  end
  return true
end

local room = {}
for i = 1, queues do
  room[i - 1] = tonumber(ARGV[7 + i] or '') or math.huge
end

-- As `take`, no more than the queue of this number (0..) has room for.
local function take_of(queue, list, most)
  local before = rest
  local more = take(list, math.min(most, room[queue]))
  room[queue] = room[queue] - (before - rest)
  return more
end

local first_list = 3 + queues
for step = first_list, #KEYS, queues do
  local share = math.ceil(rest / queues)
  local longer = {}
  for i = 0, queues - 1 do
    local queue = (turn + i) % queues
    if take_of(queue, KEYS[step + queue], math.min(share, rest)) then
      longer[#longer + 1] = queue
    end
  end
  for _, queue in ipairs(longer) do
    take_of(queue, KEYS[step + queue], rest)
  end
end

if #reply == 1 then
  redis.call('EXISTS', unpack(KEYS, first_list))
  reply[1] = tostring(next_due(delayed_sets, time, LONGEST_S))
end
return reply
