--- End a run well. The result goes into the job's hash, or into the stream when an entry is given. A job that repeats waits for its
--- next run after `repeat_delay` seconds (blank: it does not).
--- ARGV: id execution origin worker ended_at ttl result repeat_delay repeat_intervals ...entry
--- REPLY: OK more · GONE · WRONG_STATUS status · LEASE_LOST
--- @include end_run

local job, refusal = owned(VERB.finish.from)
if refusal then
  return refusal
end
local value = ARG.result ~= '' and ARG.result or nil
local delay = tonumber(ARG.repeat_delay)
if not delay or job.cancel then
  return end_run(job, STATUS.finished, K.finished(ARG.origin), tonumber(ARG.ttl), ARG.entry, value)
end

local key = K.job(ARG.id)
release(ARG.id, ARG.execution, ARG.origin, ARG.worker)
redis.call('HSET', key, 'status', delay > 0 and STATUS.scheduled or STATUS.queued, 'enqueued_at', ARG.ended_at,
  'ended_at', ARG.ended_at, 'aio_settled', ARG.execution, 'repeat_intervals', ARG.repeat_intervals)
redis.call('HINCRBY', key, 'repeats_left', -1)
redis.call('HDEL', key, 'aio_deaths')
keep_result(key, ARG.entry, value)
if job.ttl then
  expire(ARG.id, job.ttl)
end
if delay > 0 then
  leave(ARG.id, job.rate, ARG.ended_at)
  schedule(ARG.id, ARG.origin, now + delay)
else
  push(ARG.id, ARG.origin, false)
end
return {REPLY.OK, tell_dependents(STATUS.finished)}
