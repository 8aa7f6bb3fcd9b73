--- Put a job where it waits: into its queue, or among the scheduled until it is due.
--- @include clock wake

local function push(job, queue, at_front)
  redis.call(at_front and 'LPUSH' or 'RPUSH', K.queue(queue), job)
  wake(queue)
end

-- Something is due earlier than whoever watches the queue knows: the watch is free again, and schedulers hear of it.
local function rouse(queue)
  redis.call('DEL', K.watch(queue))
  wake(queue)
  redis.call('PUBLISH', K.due_news(), queue)
end

local function schedule(job, queue, due)
  redis.call('ZADD', K.scheduled(queue), due, job)
  if redis.call('ZRANGE', K.scheduled(queue), 0, 0)[1] == job then
    rouse(queue)
  end
end
