--- Say when a recurring entry is due next, and of which queue. If it is the first there, whoever watches the queue sleeps too long.
--- @include push

local function arm(queue, name, due)
  redis.call('SADD', K.queues(), K.queue(queue)) -- it may have been deleted: who looks after all queues would pass over the entry
  redis.call('ZADD', K.crons(queue), due, name)
  if redis.call('ZRANGE', K.crons(queue), 0, 0)[1] == name then
    rouse(queue)
  end
end
