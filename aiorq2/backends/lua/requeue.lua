--- Put a job that has ended back into its queue. Its retries are not restored (as in RQ), its deaths are forgotten.
--- `among`: the statuses from which alone it is to be moved, each between spaces; blank for all that it can be moved from.
--- ARGV: id token now_iso at_front among
--- REPLY: OK · GONE · WRONG_STATUS status
--- @include forget keep parents

local key = K.job(ARG.id)
local found = redis.call('HMGET', key, 'status', 'origin', 'aio_call', 'ttl', 'rate_limit_key', 'dependency_ids')
local status, origin = found[1], found[2] or ''
if found[3] == ARG.token then
  return {REPLY.OK}
elseif not status then
  return {redis.call('EXISTS', K.replay(ARG.token)) == 1 and REPLY.OK or REPLY.GONE}
elseif not VERB.requeue.from[status] or ARG.among ~= '' and not string.find(ARG.among, ' ' .. status .. ' ', 1, true) then
  return {REPLY.WRONG_STATUS, status}
end

redis.call('SADD', K.queues(), K.queue(origin))
forget(ARG.id, origin, status)
for _, parent in ipairs(parents_of(ARG.id, found[6])) do
  redis.pcall('SREM', K.dependents(parent), ARG.id) -- rq enqueues whom it finds there when the parent ends, whatever he does
end
redis.call('HSET', key, 'started_at', '', 'ended_at', '', 'worker_name', '', 'aio_call', ARG.token)
redis.call('HDEL', key, 'result', 'aio_deaths', 'aio_cancel')
if redis.call('EXISTS', K.results(ARG.id)) == 1 then
  redis.call('HSET', key, 'aio_results', 'stream') -- where readers look first
end
expire(ARG.id, seconds(found[4]) or -1)
if found[5] and found[5] ~= '' and ARG.at_front == '1' then
  redis.call('HSET', key, 'enqueue_at_front', 1)
end
enqueue(ARG.id, origin, ARG.at_front == '1', found[5], ARG.now_iso)
return {REPLY.OK}
