--- Cancel a job that has not started. A running one is marked, and its worker told by RQ's own command, to stop it.
--- ARGV: id token now_iso ttl
--- REPLY: OK · STOPPING worker · GONE · WRONG_STATUS status
--- @include clock keep notify forget

local key = K.job(ARG.id)
local found = redis.call('HMGET', key, 'status', 'origin', 'worker_name', 'aio_waiters', 'aio_call', 'failure_ttl')
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

forget(ARG.id, origin, status)
redis.call('HSET', key, 'status', VERB.cancel.to, 'ended_at', ARG.now_iso, 'aio_call', ARG.token)
redis.call('HDEL', key, 'aio_waiters')
redis.call('ZADD', K.canceled(origin), now, ARG.id)
local ttl = seconds(found[6]) or tonumber(ARG.ttl)
expire(ARG.id, ttl == 0 and tonumber(ARG.ttl) or ttl)
notify(found[4], ARG.id, VERB.cancel.to)
return {REPLY.OK}
