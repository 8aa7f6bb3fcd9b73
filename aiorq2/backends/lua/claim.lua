--- Start up to `count` jobs, queues in the order given; before that, promote what is due, at most `promote` jobs. `execution` is the
--- beginning of the execution ids. A worker that gets nothing is told when to look again, if it is the one that watches the queue, and
--- otherwise with how many others (`crowd`) it shares that it may have to do so in the place of one that was killed.
--- `ticks`: whether a recurring entry is due. A job that has died `last_chance` times (0: however often) is had alone, by a worker that
--- `is_empty`: it stays where it is for any other one, which is told so (`stood_back`) and gets nothing that stands behind it.
--- ARGV: worker instance execution count share lease now_iso promote watch_ms last_chance is_empty ...queues
--- REPLY: OK more next_due watched ticks stood_back crowd job… · SUSPENDED
--- @include take wake
--- @rarely promote promote

if redis.call('EXISTS', K.suspended()) == 1 then
  return {REPLY.SUSPENDED}
end
local wanted, share, promotable = tonumber(ARG.count), tonumber(ARG.share), tonumber(ARG.promote)
local jobs, members, pops, more = {}, {}, wanted + 100, 0
local is_over, stood_back = false, 0

-- A queue that something else was put in the place of is passed over: nothing may fail once jobs are popped.
local function drain(queue)
  local waiting = redis.pcall('LLEN', K.queue(queue))
  if waiting == 0 then
    return redis.call('ZREM', K.wake(queue), '1')
  elseif type(waiting) ~= 'number' or not is_sound(queue) then
    return
  end
  local upto = math.min(wanted, #jobs + share)
  while #jobs < upto and pops > 0 and not is_over do
    local ids = redis.call('LPOP', K.queue(queue), math.min(upto - #jobs, pops))
    if not ids then
      break
    end
    for place, id in ipairs(ids) do
      pops = pops - 1
      local execution = ARG.execution .. string.format('%08x', #jobs)
      local fields, member, origin, is_last = take(id, queue, execution, ARG.is_empty == '1' and #jobs == 0)
      if fields then
        jobs[#jobs + 1] = {id, execution, origin, fields}
        members[#members + 1] = member
      end
      if is_last then
        is_over, stood_back = true, fields and 0 or 1
        for back = #ids, fields and place + 1 or place, -1 do
          redis.call('LPUSH', K.queue(queue), ids[back])
        end
        break
      end
    end
  end
  if redis.call('LLEN', K.queue(queue)) > 0 then
    wake(queue)
    more = 1
  else
    redis.call('ZREM', K.wake(queue), '1')
  end
end

local function first_due(queue)
  local first = redis.pcall('ZRANGE', K.scheduled(queue), 0, 0, 'WITHSCORES')
  return tonumber(first[2]) or math.huge
end

-- When the next job is due, of the queues in which none is yet.
local next_job = {}
local function is_due(queue)
  local due = first_due(queue)
  next_job[queue] = due > now and due or nil
  return due <= now
end

-- When recurring entries are due: seen to by whoever asks (due_crons.lua), not in here.
local next_tick, ticks = {}, 0
local function look_for_ticks(queue)
  local first = redis.pcall('ZRANGE', K.crons(queue), 0, 0, 'WITHSCORES')
  local due = tonumber(first[2])
  if due and due <= now then
    ticks = 1
  else
    next_tick[queue] = due
  end
end

-- Only one of the idle workers watches a queue's next due time; the others sleep on.
local next_due, watched, crowd = math.huge, 0, math.huge
local function watch(queue)
  local key = K.watch(queue)
  local holder = redis.call('GET', key)
  if not holder or holder == ARG.instance then
    redis.call('SET', key, ARG.instance, 'PX', ARG.watch_ms)
    watched = watched + 1
    next_due = math.min(next_due, next_tick[queue] or math.huge)
    if promotable > 0 and redis.call('EXISTS', K.scheduler_lock(queue)) == 0 then
      next_due = math.min(next_due, next_job[queue] or first_due(queue))
    end
  elseif watched == 0 then
    crowd = math.min(crowd, tonumber(redis.pcall('SCARD', K.queue_workers(queue))) or 0)
  end
end

local portion = math.ceil(promotable / (#ARGV - ARG.queues + 1)) -- of several queues: one slice must not stall Redis
for i = ARG.queues, #ARGV do
  if promotable > 0 then
    if is_due(ARGV[i]) then
      promote(ARGV[i], portion)
    end
    look_for_ticks(ARGV[i])
  end
  drain(ARGV[i])
end
if #members > 0 then
  lease_all()
  redis.call('SADD', K.worker_executions(ARG.worker), unpack(members))
  redis.call('EXPIRE', K.worker_executions(ARG.worker), lease_s + 60)
else
  for i = ARG.queues, #ARGV do
    watch(ARGV[i])
  end
end
local record = redis.call('HMGET', K.worker(ARG.worker), 'aio_instance', 'state')
if record[1] == ARG.instance and record[2] ~= (#members > 0 and 'busy' or 'idle') then -- not only at the next heartbeat
  local is_busy = redis.call('EXISTS', K.worker_executions(ARG.worker)) == 1
  redis.call('HSET', K.worker(ARG.worker), 'state', is_busy and 'busy' or 'idle')
end
return {REPLY.OK, more, next_due < math.huge and string.format('%.6f', next_due - now) or '', watched, ticks, stood_back,
  crowd < math.huge and crowd or 0, unpack(jobs)}
