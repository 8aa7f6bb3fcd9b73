--- Announce a worker under a name that no living worker has; one that announces itself again `replaces` itself. `queues` are given after their count, then the fields of its hash.
--- ARGV: worker instance replaces ttl queue_count ...queues_and_fields
--- REPLY: OK · NAME_TAKEN fields

local key = K.worker(ARG.worker)
local found = redis.pcall('HMGET', key, 'aio_instance', 'death', 'birth')
local is_other = not found.err and found[3] and not found[2] and found[1] ~= ARG.instance
if is_other and not (ARG.replaces ~= '' and found[1] == ARG.replaces) then
  return {REPLY.NAME_TAKEN, redis.call('HGETALL', key)}
end
redis.call('DEL', key)
if (found.err or found[1] ~= ARG.instance) and ARG.replaces ~= ARG.instance then
  redis.call('DEL', K.worker_executions(ARG.worker)) -- a dead namesake's runs are not ours: their leases have to end
end
local first_field = ARG.queues_and_fields + tonumber(ARG.queue_count)
redis.call('HSET', key, 'aio_instance', ARG.instance, unpack(ARGV, first_field))
redis.call('EXPIRE', key, ARG.ttl)
redis.call('SADD', K.workers(), key)
for i = ARG.queues_and_fields, first_field - 1 do
  redis.call('SADD', K.queue_workers(ARGV[i]), key)
end
return {REPLY.OK}
