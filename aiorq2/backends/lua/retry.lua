--- End an attempt that will be repeated: at once, or after `delay` seconds. A job that was cancelled meanwhile is stopped instead.
--- ARGV: id execution origin worker ended_at ttl delay at_front retries_left number_of_retries ...entry
--- REPLY: OK more · GONE · WRONG_STATUS status · LEASE_LOST
--- @include end_run push

local run, refusal = owned(VERB.retry.from)
if refusal then
  return refusal
end
if run.cancel then
  return end_run(run, STATUS.stopped, K.failed, -1)
end

local key, delay = K.job(ARG.id), tonumber(ARG.delay)
release_all({run})
redis.call('HSET', key, 'status', delay > 0 and STATUS.scheduled or STATUS.queued, 'enqueued_at', ARG.ended_at,
  'ended_at', ARG.ended_at, 'worker_name', '', 'aio_settled', ARG.execution)
if ARG.retries_left ~= '' then
  redis.call('HSET', key, 'retries_left', ARG.retries_left)
end
if ARG.number_of_retries ~= '' then
  redis.call('HSET', key, 'number_of_retries', ARG.number_of_retries)
end
if ARG.at_front == '1' then
  redis.call('HSET', key, 'enqueue_at_front_on_retry', 1) -- for whoever moves it when the delay is over
end
keep_entry(run)
if run.life then
  expire(ARG.id, run.life)
end
if delay > 0 then
  leave(ARG.id, run.rate, ARG.ended_at)
  schedule(ARG.id, ARG.origin, now + delay)
else
  push(ARG.id, ARG.origin, ARG.at_front == '1')
end
return problem or {REPLY.OK, 0}
