--- How long a job that has ended is kept: `ttl` seconds, for ever (-1), or not at all (0).

local function expire(job, ttl)
  if ttl > 0 then
    redis.call('EXPIRE', K.job(job), ttl)
    redis.call('EXPIRE', K.results(job), ttl)
    redis.call('EXPIRE', K.dependents(job), ttl)
    redis.call('EXPIRE', K.dependencies(job), ttl)
  else
    redis.call('PERSIST', K.job(job))
    redis.call('PERSIST', K.results(job))
  end
end

-- `token` is that of the call which added the job: should its reply have been lost, it is not added again.
local function erase(job, token)
  redis.call('DEL', K.job(job), K.results(job), K.executions(job), K.dependents(job), K.dependencies(job))
  if token then
    redis.call('SET', K.replay(token), 1, 'EX', 60)
  end
end
