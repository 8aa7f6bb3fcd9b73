--- Free the jobs of a queue whose lease is over, at most `limit`. A job of ours goes back to the front; its `max_deaths`-th death
--- makes it fail, as does every death of a job that rq enqueued and that has no retries left. While rq's own maintenance has just
--- taken its lock, the queue is left to it.
--- ARGV: queue limit max_deaths now_iso ttl ...entry
--- REPLY: OK next_deadline requeued failed releasing
--- @include lease keep notify releasing rate

if redis.call('TTL', K.cleaning(ARG.queue)) > 894 then
  return {REPLY.OK, '1', {}, {}, 0}
end
local requeued, failed = {}, {}

local function bury(job, key, found, to)
  local ttl = seconds(found[5]) or tonumber(ARG.ttl)
  if ttl == 0 then
    erase(job, found[7], found[12])
  else
    redis.call('HSET', key, 'status', to, 'ended_at', ARG.now_iso)
    redis.call('HDEL', key, 'aio_waiters', 'aio_cancel')
    redis.call('XADD', K.results(job), 'MAXLEN', '~', 10, '*', unpack(ARGV, ARG.entry))
    redis.call('ZADD', K.failed(ARG.queue), ttl > 0 and now + ttl or -1, job)
    expire(job, ttl)
  end
  release_later(job, found[10] == '2' and STATUS.finished or to)
  leave(job, found[13], ARG.now_iso)
  notify(found[6], job, to)
  failed[#failed + 1] = job
end

-- RQ's arithmetic: intervals are counted from the end; before the first of them, the first repeats.
local function interval(found, retries_left)
  local ok, intervals = pcall(cjson.decode, found[4] or '')
  if not ok or type(intervals) ~= 'table' or #intervals == 0 then
    return 0
  end
  return tonumber(intervals[math.max(#intervals - retries_left, 0) + 1]) or 0
end

local function revive(job, key, found, deaths)
  redis.call('HSET', key, 'status', STATUS.queued, 'worker_name', '', 'started_at', '', 'aio_deaths', deaths)
  local delay, retries_left = 0, tonumber(found[3]) or 0
  if not (found[7] and found[8] ~= '0') then
    redis.call('HSET', key, 'retries_left', retries_left - 1)
    delay = interval(found, retries_left)
  end
  if seconds(found[11]) then
    expire(job, seconds(found[11]))
  end
  if delay > 0 then
    redis.call('HSET', key, 'status', STATUS.scheduled)
    leave(job, found[13], ARG.now_iso)
    schedule(job, ARG.queue, now + delay)
  else
    push(job, ARG.queue, true)
  end
  requeued[#requeued + 1] = job
end

local due = redis.call('ZRANGEBYSCORE', K.wip(ARG.queue), '-inf', string.format('%.6f', now), 'LIMIT', 0, ARG.limit)
for _, member in ipairs(due) do
  local job, execution = string.match(member, '^(.*):([^:]*)$')
  job, execution = job or member, execution or '' -- rq 1 wrote the bare id
  redis.call('ZREM', K.wip(ARG.queue), member)
  local key = K.job(job)
  local found = redis.pcall('HMGET', key, 'status', 'worker_name', 'retries_left', 'retry_intervals', 'failure_ttl',
    'aio_waiters', 'aio_token', 'aio_redeliver', 'aio_deaths', 'aio_cancel', 'ttl', 'aio_call', 'rate_limit_key')
  release(job, execution, ARG.queue, not found.err and found[2] or '')
  if not found.err and found[1] and (VERB.reap.from[found[1]] or is_misnamed(job, ARG.queue, found[1])) then
    local deaths = (tonumber(found[9]) or 0) + 1
    local again = (tonumber(found[3]) or 0) > 0
    if found[7] then
      again = (again or found[8] ~= '0') and deaths < tonumber(ARG.max_deaths)
    end
    if again and not found[10] then
      revive(job, key, found, deaths)
    else
      redis.call('HSET', key, 'aio_deaths', deaths)
      bury(job, key, found, found[10] and STATUS.stopped or STATUS.failed)
    end
  end
end
local first = redis.call('ZRANGE', K.wip(ARG.queue), 0, 0, 'WITHSCORES')
return {REPLY.OK, first[2] and string.format('%.6f', first[2] - now) or '', requeued, failed,
  redis.call('EXISTS', K.releasing())}
