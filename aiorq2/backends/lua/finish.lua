--- End a run well. The result goes into the job's hash, or into the stream when an entry is given. A job that repeats waits for its
--- next run after `repeat_delay` seconds (blank: it does not).
--- ARGV: id execution origin worker ended_at ttl result repeat_delay repeat_intervals ...entry
--- REPLY: OK more · GONE · WRONG_STATUS status · LEASE_LOST
--- @include end_run
--- @rarely push push
--- @rarely push schedule

local run, refusal = owned(VERB.finish.from)
if refusal then
  return refusal
end
run.value = ARG.result ~= '' and ARG.result or nil
local delay = tonumber(ARG.repeat_delay)
if not delay or run.cancel then
  return end_run(run, STATUS.finished, K.finished, '+inf')
end

local key = K.job(ARG.id)
local left = tonumber(redis.call('HGET', key, 'repeats_left')) or 1 -- anything may stand there, and nothing may fail half-way
left = left == left and math.max(math.floor(math.min(left, LONGEST)) - 1, 0) or 0
release_all({run})
redis.call('HSET', key, 'status', delay > 0 and STATUS.scheduled or STATUS.queued, 'enqueued_at', ARG.ended_at,
  'ended_at', ARG.ended_at, 'aio_settled', ARG.execution, 'repeat_intervals', ARG.repeat_intervals,
  'repeats_left', string.format('%d', left))
redis.call('HDEL', key, 'aio_deaths')
if run.entry then
  keep_entry(run)
elseif run.value then
  redis.call('HSET', key, 'result', run.value)
end
if run.life then
  expire(ARG.id, run.life)
end
if delay > 0 then
  leave(ARG.id, run.rate, ARG.ended_at)
  schedule(ARG.id, ARG.origin, now + delay)
else
  push(ARG.id, ARG.origin, false)
end
return problem or {REPLY.OK, tell_dependents(run, STATUS.finished)}
