--- End a run for good. The first write frees memory (the lease), so runs can end when Redis is full.
--- @include settle clock keep notify

-- `entry` is the place in ARGV from which the fields of a result entry are given, if one is to be written.
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
    if ARGV[entry] then
      redis.call('XADD', K.results(ARG.id), 'MAXLEN', '~', 10, '*', unpack(ARGV, entry))
    elseif value then
      redis.call('HSET', key, 'result', value)
    end
    redis.call('ZADD', registry, ttl > 0 and now + ttl or (to == STATUS.finished and '+inf' or -1), ARG.id)
    expire(ARG.id, ttl)
  end
  notify(job.waiters, ARG.id, to, value)
end
