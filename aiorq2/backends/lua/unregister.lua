--- Take a worker off the list; its hash stays for a minute with the time of its death, as in RQ.
--- ARGV: worker instance now_iso ...queues
--- REPLY: OK

local key = K.worker(ARG.worker)
if redis.call('HGET', key, 'aio_instance') == ARG.instance then
  redis.call('SREM', K.workers(), key)
  for i = ARG.queues, #ARGV do
    redis.call('SREM', K.queue_workers(ARGV[i]), key)
    if redis.call('GET', K.watch(ARGV[i])) == ARG.instance then
      redis.call('DEL', K.watch(ARGV[i]))
    end
  end
  redis.call('HSET', key, 'death', ARG.now_iso, 'state', 'idle')
  redis.call('EXPIRE', key, 60)
  redis.call('DEL', K.worker_executions(ARG.worker), K.doorbell(ARG.worker))
end
return {REPLY.OK}
