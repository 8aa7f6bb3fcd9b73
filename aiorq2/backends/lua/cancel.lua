--- Cancel a job that has not started. A running one is marked, and its worker told by RQ's own command, to stop it; with
--- `running_only` nothing else is done. Its dependents are judged by their own terms; with `enqueue_dependents` it counts as done.
--- ARGV: id token now_iso enqueue_dependents running_only
--- REPLY: OK more · STOPPING worker · GONE · WRONG_STATUS status
--- @include forget dependents stopping

local key = K.job(ARG.id)
local found = redis.call('HMGET', key, 'status', 'origin', 'worker_name', 'aio_call', 'rate_limit_key')
local status, origin = found[1], found[2] or ''
if not status then
  return {redis.call('EXISTS', K.replay(ARG.token)) == 1 and REPLY.OK or REPLY.GONE}
elseif status == STATUS.started then
  redis.call('PERSIST', key) -- changes nothing, but Redis refuses no second write when it is full
  redis.call('HSET', key, 'aio_call', ARG.token)
  have_stopped(ARG.id, found[3], ARG.enqueue_dependents == '1' and 2 or 1)
  return {REPLY.STOPPING, found[3] or ''}
elseif found[4] == ARG.token then
  return {REPLY.OK}
elseif ARG.running_only == '1' or not VERB.cancel.from[status] then
  return {REPLY.WRONG_STATUS, status}
end

forget(ARG.id, origin, status, found[5], ARG.now_iso)
redis.call('HSET', key, 'aio_call', ARG.token)
end_as_canceled(ARG.id, origin, ARG.now_iso)
if redis.call('EXISTS', K.dependents(ARG.id)) == 0 then
  return {REPLY.OK, redis.call('EXISTS', K.releasing())}
end
local how = ARG.enqueue_dependents == '1' and STATUS.finished or VERB.cancel.to
return {REPLY.OK, free_dependents(ARG.id, how .. ' 0', ARG.now_iso)}
