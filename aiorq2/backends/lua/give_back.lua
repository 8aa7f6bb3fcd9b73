--- Put a job back at the front, as if it had not been started. A job that was cancelled meanwhile is stopped instead.
--- ARGV: id execution origin worker ended_at ttl ...entry
--- REPLY: OK more · GONE · WRONG_STATUS status · LEASE_LOST
--- @include end_run push

local run, refusal = owned(VERB.give_back.from)
if refusal then
  return refusal
end
if run.cancel then
  return end_run(run, STATUS.stopped, K.failed, -1)
end
local key = K.job(ARG.id)
release_all({run})
redis.call('HSET', key, 'status', STATUS.queued, 'started_at', '', 'worker_name', '', 'aio_settled', ARG.execution)
redis.call('HINCRBY', key, 'aio_attempt', -1)
if run.life then
  expire(ARG.id, run.life)
end
push(ARG.id, ARG.origin, true)
return problem or {REPLY.OK, 0}
