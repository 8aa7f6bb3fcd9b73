--- Add a job to a queue or to the scheduled. A job of the same id that is not running is replaced, unless `mode` is `unique`.
--- It waits in `lane`, which is the queue unless its caller runs it himself. The first write is one that Redis refuses when it is full, so a job is added whole or not at all.
--- ARGV: id queue lane token mode to at delay ttl at_front ...fields
--- REPLY: OK · DUPLICATE status · WRONG_STATUS status · WRONG_TYPE
--- @include push forget

local key = K.job(ARG.id)
local old = redis.pcall('HMGET', key, 'status', 'origin', 'aio_token', 'aio_waiters')
if old.err then
  return {REPLY.WRONG_TYPE}
end
if old[3] == ARG.token or redis.call('EXISTS', K.replay(ARG.token)) == 1 then
  return {REPLY.OK}
end
local exists = old[1] or redis.call('EXISTS', key) == 1
if exists and ARG.mode == 'unique' then
  return {REPLY.DUPLICATE, old[1] or ''}
end
if exists and not VERB.delete.from[old[1] or STATUS.created] then
  return {REPLY.WRONG_STATUS, old[1]}
end

redis.call('SADD', K.queues(), K.queue(ARG.queue))
if exists then
  forget(ARG.id, old[2] or ARG.queue, old[1])
  redis.call('DEL', key, K.results(ARG.id), K.dependencies(ARG.id))
end
redis.call('HSET', key, 'status', ARG.to, 'aio_token', ARG.token, unpack(ARGV, ARG.fields))
if exists and old[4] then
  redis.call('HSET', key, 'aio_waiters', old[4])
end
if ARG.ttl ~= '' then
  redis.call('EXPIRE', key, ARG.ttl)
end
if ARG.to == STATUS.queued then
  push(ARG.id, ARG.lane, ARG.at_front == '1')
elseif ARG.to == STATUS.deferred then
  redis.call('ZADD', K.deferred(ARG.queue), now, ARG.id)
else
  schedule(ARG.id, ARG.queue, ARG.at ~= '' and tonumber(ARG.at) or now + tonumber(ARG.delay))
end
return {REPLY.OK}
