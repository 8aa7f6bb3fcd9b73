--- Leave the marker that wakes one idle worker of a queue.

local function wake(queue)
  redis.call('ZADD', K.wake(queue), 0, '1')
end
