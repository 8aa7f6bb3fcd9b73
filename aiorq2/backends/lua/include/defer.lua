--- Have a job wait for its parents, whose ids are given.
--- @include clock keep

local DAY = 86400

local function register_with(job, parents)
  for _, parent in ipairs(parents) do
    redis.call('SADD', K.dependents(parent), job)
    redis.call('SADD', K.dependencies(job), parent)
    local left = redis.call('TTL', K.job(parent))
    if left >= 0 then
      redis.call('EXPIRE', K.dependents(parent), left + DAY) -- a parent that rq runs is kept longer, this would not be
    else
      redis.call('PERSIST', K.dependents(parent))
    end
  end
  local ttl = redis.call('TTL', K.job(job))
  if ttl >= 0 then
    redis.call('EXPIRE', K.dependencies(job), math.max(ttl, 1))
  end
end

local function defer(job, queue, parents)
  redis.call('HSET', K.job(job), 'status', STATUS.deferred)
  -- In the order of their coming. To rq 2 the score is the end of a job's time, at which whoever looks fails it: far away.
  redis.call('ZADD', K.deferred(queue), math.floor(now) + LONGEST, job)
  register_with(job, parents)
end
