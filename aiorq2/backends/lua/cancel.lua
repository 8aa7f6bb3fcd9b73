--- Cancel a job that has not started. A running one is marked, and its worker told by RQ's own command, to stop it.
--- Its dependents are judged by their own terms; with `enqueue_dependents` it counts as done for them.
--- ARGV: id token now_iso ttl enqueue_dependents
--- REPLY: OK more · STOPPING worker · GONE · WRONG_STATUS status
--- @include clock keep notify forget dependents

local key = K.job(ARG.id)
local found = redis.call('HMGET', key, 'status', 'origin', 'worker_name', 'aio_waiters', 'aio_call', 'failure_ttl',
  'rate_limit_key')
local status, origin = found[1], found[2] or ''
if not status then
  return {redis.call('EXISTS', K.replay(ARG.token)) == 1 and REPLY.OK or REPLY.GONE}
elseif status == STATUS.started then
  redis.call('PERSIST', key) -- changes nothing, but Redis refuses no second write when it is full
  redis.call('HSET', key, 'aio_cancel', 1, 'aio_call', ARG.token)
  redis.call('PUBLISH', K.commands(found[3] or ''), '{"command": "stop-job", "job_id": "' .. ARG.id .. '"}')
  return {REPLY.STOPPING, found[3] or ''}
elseif found[5] == ARG.token then
  return {REPLY.OK}
elseif not VERB.cancel.from[status] then
  return {REPLY.WRONG_STATUS, status}
end

forget(ARG.id, origin, status, found[7], ARG.now_iso)
redis.call('HSET', key, 'status', VERB.cancel.to, 'ended_at', ARG.now_iso, 'aio_call', ARG.token)
redis.call('HDEL', key, 'aio_waiters')
redis.call('ZADD', K.canceled(origin), now, ARG.id)
local ttl = seconds(found[6]) or tonumber(ARG.ttl)
expire(ARG.id, ttl == 0 and tonumber(ARG.ttl) or ttl)
notify(found[4], ARG.id, VERB.cancel.to)
local more = 0
if redis.call('EXISTS', K.dependents(ARG.id)) == 1
  and free_dependents(ARG.id, ARG.now_iso, ARG.enqueue_dependents == '1' and '!0' or '0') then
  more = 1
end
return {REPLY.OK, more + redis.call('EXISTS', K.releasing())}
