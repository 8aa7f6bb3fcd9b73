--- Have a job wait for its parents, whose ids are given. `dependencies` holds those that have not ended well yet: should one of them
--- be gone, it never will.
--- @include clock keep parents

local DAY = 86400

local function register_with(job, parents, policy)
  redis.call('DEL', K.dependencies(job))
  for _, parent in ipairs(parents) do
    redis.call('SADD', K.dependents(parent), job)
    if not is_met(redis.pcall('HGET', K.job(parent), 'status'), policy) then
      redis.call('SADD', K.dependencies(job), parent)
    end
    local left = redis.call('TTL', K.job(parent)) -- -1: it stays; -2: it is not there, and may never be
    if left ~= -1 then
      redis.call('EXPIRE', K.dependents(parent), math.max(left, 0) + DAY) -- a parent that rq runs is kept longer
    else
      redis.call('PERSIST', K.dependents(parent))
    end
  end
  local ttl = redis.call('TTL', K.job(job))
  if ttl >= 0 then
    redis.call('EXPIRE', K.dependencies(job), math.max(ttl, 1))
  end
end

local function defer(job, queue, parents, policy)
  redis.call('HSET', K.job(job), 'status', STATUS.deferred)
  -- In the order of their coming. To rq 2 the score is the end of a job's time, at which whoever looks fails it: far away.
  redis.call('ZADD', K.deferred(queue), math.floor(now) + LONGEST, job)
  register_with(job, parents, policy)
end
