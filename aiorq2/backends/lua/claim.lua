--- Start up to `count` jobs, queues in the order given; before that, promote what is due. `execution` is the beginning of the
--- execution ids. A worker that gets nothing is told when to look again, if it is the one that watches the queue.
--- ARGV: worker instance execution count lease now_iso promote watch_ms ...queues
--- REPLY: OK next_due watched job… · SUSPENDED
--- @include take promote

if redis.call('EXISTS', K.suspended()) == 1 then
  return {REPLY.SUSPENDED}
end
local wanted, promotable = tonumber(ARG.count), tonumber(ARG.promote)
local jobs, members, pops = {}, {}, wanted + 100

local function drain(queue)
  while #jobs < wanted and pops > 0 do
    local ids = redis.call('LPOP', K.queue(queue), math.min(wanted - #jobs, pops))
    if not ids then
      return redis.call('ZREM', K.wake(queue), '1')
    end
    for _, id in ipairs(ids) do
      pops = pops - 1
      local execution = ARG.execution .. string.format('%08x', #jobs)
      local fields, member, origin = take(id, queue, execution)
      if fields then
        jobs[#jobs + 1] = {id, execution, origin, fields}
        members[#members + 1] = member
      end
    end
  end
  if redis.call('LLEN', K.queue(queue)) > 0 then
    wake(queue)
  end
end

-- Only one of the idle workers watches a queue's next due time; the others sleep on.
local next_due, watched = math.huge, 0
local function watch(queue)
  local key = K.watch(queue)
  local holder = redis.call('GET', key)
  if not holder or holder == ARG.instance then
    redis.call('SET', key, ARG.instance, 'PX', ARG.watch_ms)
    watched = watched + 1
    local first = redis.call('ZRANGE', K.scheduled(queue), 0, 0, 'WITHSCORES')
    next_due = math.min(next_due, tonumber(first[2]) or math.huge)
  end
end

for i = ARG.queues, #ARGV do
  if promotable > 0 then
    promote(ARGV[i], promotable)
  end
  drain(ARGV[i])
end
if #members > 0 then
  redis.call('SADD', K.worker_executions(ARG.worker), unpack(members))
  redis.call('EXPIRE', K.worker_executions(ARG.worker), ARG.lease + 60)
elseif wanted > 0 then
  for i = ARG.queues, #ARGV do
    watch(ARGV[i])
  end
end
return {REPLY.OK, next_due < math.huge and string.format('%.6f', next_due - now) or '', watched, unpack(jobs)}
