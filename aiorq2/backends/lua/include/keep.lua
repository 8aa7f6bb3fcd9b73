--- How long a job that has ended is kept: `ttl` seconds, for ever (-1), or not at all (0).

local LONGEST = 1e10 -- some 317 years; beyond, EXPIRE refuses
local YEAR = 31536000 -- RQ's default for what failed

-- Returns the whole seconds that a field says, or nil: anything may stand in a field, and EXPIRE must not fail half-way.
local function seconds(field)
  local number = tonumber(field)
  return number and number == number and math.ceil(math.max(-1, math.min(number, LONGEST))) or nil
end

local function expire(job, ttl)
  if ttl > 0 then
    redis.call('EXPIRE', K.job(job), ttl)
    redis.call('EXPIRE', K.results(job), ttl)
    redis.call('EXPIRE', K.dependents(job), ttl)
    redis.call('EXPIRE', K.dependencies(job), ttl)
  else
    redis.call('PERSIST', K.job(job))
    redis.call('PERSIST', K.results(job))
    redis.call('PERSIST', K.dependents(job))
    redis.call('PERSIST', K.dependencies(job))
  end
end

-- `token` and `call` are those of the calls that added the job and that last cancelled or requeued it: should their replies have
-- been lost, they are not carried out again.
local function erase(job, token, call)
  redis.call('DEL', K.job(job), K.results(job), K.executions(job), K.dependencies(job))
  if token then
    redis.call('SET', K.replay(token), 1, 'EX', 60)
  end
  if call then
    redis.call('SET', K.replay(call), 1, 'EX', 60)
  end
end
