--- Put a job that has ended back into its queue. Its retries are not restored (as in RQ), its deaths are forgotten.
--- ARGV: id token now_iso at_front
--- REPLY: OK · GONE · WRONG_STATUS status
--- @include push forget keep rate

local key = K.job(ARG.id)
local found = redis.call('HMGET', key, 'status', 'origin', 'aio_call', 'ttl', 'rate_limit_key')
local status, origin = found[1], found[2] or ''
if found[3] == ARG.token then
  return {REPLY.OK}
elseif not status then
  return {redis.call('EXISTS', K.replay(ARG.token)) == 1 and REPLY.OK or REPLY.GONE}
elseif not VERB.requeue.from[status] then
  return {REPLY.WRONG_STATUS, status}
end

redis.call('SADD', K.queues(), K.queue(origin))
forget(ARG.id, origin, status)
redis.call('HSET', key, 'status', STATUS.queued, 'enqueued_at', ARG.now_iso, 'started_at', '', 'ended_at', '',
  'worker_name', '', 'aio_call', ARG.token)
redis.call('HDEL', key, 'result', 'aio_deaths', 'aio_cancel')
expire(ARG.id, seconds(found[4]) or -1)
if found[5] and found[5] ~= '' then
  line_up(ARG.id, found[5], nil, ARG.now_iso)
else
  push(ARG.id, origin, ARG.at_front == '1')
end
return {REPLY.OK}
