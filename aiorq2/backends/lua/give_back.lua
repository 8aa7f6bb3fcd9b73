--- Put a job back at the front, as if it had not been started. A job that was cancelled meanwhile is stopped instead.
--- ARGV: id execution origin worker ended_at ttl ...entry
--- REPLY: OK more · GONE · WRONG_STATUS status · LEASE_LOST
--- @include end_run push

local job, refusal = owned(VERB.give_back.from)
if refusal then
  return refusal
end
if job.cancel then
  return end_run(job, STATUS.stopped, K.failed(ARG.origin), tonumber(ARG.ttl), ARG.entry)
end
local key = K.job(ARG.id)
release(ARG.id, ARG.execution, ARG.origin, ARG.worker)
redis.call('HSET', key, 'status', STATUS.queued, 'started_at', '', 'worker_name', '', 'aio_settled', ARG.execution)
redis.call('HINCRBY', key, 'aio_attempt', -1)
if job.ttl then
  expire(ARG.id, job.ttl)
end
push(ARG.id, ARG.origin, true)
return {REPLY.OK, 0}
