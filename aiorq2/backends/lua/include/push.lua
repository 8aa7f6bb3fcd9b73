--- Put a job where it waits: into its queue, or among the scheduled until it is due.
--- @include clock wake

local function push(job, queue, at_front)
  redis.call(at_front and 'LPUSH' or 'RPUSH', K.queue(queue), job)
  wake(queue)
end

-- The first of the scheduled has changed: whoever watches the queue sleeps too long, so the watch is free again.
local function schedule(job, queue, due)
  redis.call('ZADD', K.scheduled(queue), due, job)
  if redis.call('ZRANGE', K.scheduled(queue), 0, 0)[1] == job then
    redis.call('DEL', K.watch(queue))
    wake(queue)
  end
end
