--- Say when a recurring entry is due next. If it is the first of its queue, whoever watches the queue sleeps too long.
--- @include push

local function arm(queue, name, due)
  redis.call('ZADD', K.crons(queue), due, name)
  if redis.call('ZRANGE', K.crons(queue), 0, 0)[1] == name then
    rouse(queue)
  end
end
