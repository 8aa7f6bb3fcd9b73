--- End an attempt that will be repeated: at once, or after `delay` seconds. A job that was cancelled meanwhile is stopped instead.
--- ARGV: id execution origin worker ended_at ttl delay at_front retries_left number_of_retries ...entry
--- REPLY: OK more · GONE · WRONG_STATUS status · LEASE_LOST
--- @include end_run push

local job, refusal = owned(VERB.retry.from)
if refusal then
  return refusal
end
if job.cancel then
  return end_run(job, STATUS.stopped, K.failed(ARG.origin), tonumber(ARG.ttl), ARG.entry)
end

local key, delay = K.job(ARG.id), tonumber(ARG.delay)
release(ARG.id, ARG.execution, ARG.origin, ARG.worker)
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
if ARGV[ARG.entry] then
  redis.call('XADD', K.results(ARG.id), 'MAXLEN', '~', 10, '*', unpack(ARGV, ARG.entry))
end
if job.ttl then
  expire(ARG.id, job.ttl)
end
if delay > 0 then
  leave(ARG.id, job.rate, ARG.ended_at)
  schedule(ARG.id, ARG.origin, now + delay)
else
  push(ARG.id, ARG.origin, ARG.at_front == '1')
end
return {REPLY.OK, 0}
