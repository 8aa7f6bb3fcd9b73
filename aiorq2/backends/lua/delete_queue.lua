--- Delete the list of a queue. It stays known as long as recurring entries or scheduled jobs wait there for their time: who looks after
--- all queues finds them by it.
--- ARGV: queue
--- REPLY: OK

redis.call('DEL', K.queue(ARG.queue), K.wake(ARG.queue))
if redis.call('EXISTS', K.crons(ARG.queue), K.scheduled(ARG.queue)) == 0 then
  redis.call('SREM', K.queues(), K.queue(ARG.queue))
end
return {REPLY.OK}
