--- Take a worker whose hash is gone off the lists.
--- ARGV: worker ...queues
--- REPLY: OK removed

local key = K.worker(ARG.worker)
if redis.call('EXISTS', key) == 1 then
  return {REPLY.OK, 0}
end
local removed = redis.call('SREM', K.workers(), key)
for i = ARG.queues, #ARGV do
  removed = removed + redis.call('SREM', K.queue_workers(ARGV[i]), key)
end
return {REPLY.OK, removed > 0 and 1 or 0}
