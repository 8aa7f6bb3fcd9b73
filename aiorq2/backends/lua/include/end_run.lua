--- End a run for good. The first write frees memory (the lease), so runs can end when Redis is full.
--- @include settle clock dependents

-- `entry` is the place in ARGV from which the fields of a result entry are given, if one is to be written.
local function keep_result(key, entry, value)
  if ARGV[entry] then
    redis.call('XADD', K.results(ARG.id), 'MAXLEN', '~', 10, '*', unpack(ARGV, entry))
  elseif value then
    redis.call('HSET', key, 'result', value)
  end
end

-- Returns 1 if some of those that wait for the job are still to be freed.
local function tell_dependents(how)
  if redis.call('EXISTS', K.dependents(ARG.id)) == 0 then
    return 0
  end
  return free_dependents(ARG.id, how .. ' 0', ARG.ended_at)
end

local function end_run(job, to, registry, ttl, entry, value)
  local key = K.job(ARG.id)
  release(ARG.id, ARG.execution, ARG.origin, ARG.worker)
  if ttl == 0 then
    erase(ARG.id, job.token, job.call)
  else
    redis.call('HSET', key, 'status', to, 'ended_at', ARG.ended_at, 'aio_settled', ARG.execution)
    if job.waiters or job.cancel then
      redis.call('HDEL', key, 'aio_waiters', 'aio_cancel')
    end
    keep_result(key, entry, value)
    redis.call('ZADD', registry, ttl > 0 and now + ttl or (to == STATUS.finished and '+inf' or -1), ARG.id)
    expire(ARG.id, ttl)
  end
  leave(ARG.id, job.rate, ARG.ended_at)
  notify(job.waiters, ARG.id, to, value)
  return {REPLY.OK, tell_dependents(job.cancel == '2' and STATUS.finished or to)}
end
