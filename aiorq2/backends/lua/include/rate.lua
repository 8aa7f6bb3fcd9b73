--- RQ's rate limits: at most `concurrency` jobs of a key are queued or running; the others wait in line.
--- @include push

local MOST = 1000 -- those in line that are called at once; some of them may be gone

-- Let as many of the waiting jobs into their queues as there are free places.
local function admit(rate, iso)
  local concurrency = tonumber(redis.call('HGET', K.rate(rate), 'concurrency')) or 1
  local free = concurrency - redis.call('ZCARD', K.rate_allowed(rate))
  for _ = 1, MOST do
    local id = free > 0 and redis.call('ZPOPMIN', K.rate_waiting(rate))[1]
    if not id then
      break
    end
    local found = redis.pcall('HMGET', K.job(id), 'origin', 'status', 'enqueue_at_front', 'rate_limit_key')
    if not found.err and found[1] and found[2] == STATUS.rate_limited and found[4] == rate then
      redis.call('ZADD', K.rate_allowed(rate), math.floor(now), id)
      redis.call('HSET', K.job(id), 'status', STATUS.queued, 'enqueued_at', iso)
      push(id, found[1], found[3] == '1')
      free = free - 1
    end
  end
  if redis.call('EXISTS', K.rate_allowed(rate), K.rate_waiting(rate)) == 0 then
    redis.call('DEL', K.rate(rate))
    redis.call('SREM', K.rates(), rate)
  end
end

-- A job asks for a place: it waits in line, and gets in at once if there is room. The latest word on the concurrency counts.
local function line_up(job, rate, iso)
  local concurrency = redis.call('HGET', K.job(job), 'rate_limit_concurrency')
  redis.call('SADD', K.rates(), rate)
  if tonumber(concurrency or '') then
    redis.call('HSET', K.rate(rate), 'concurrency', concurrency)
  end
  redis.call('HSET', K.job(job), 'status', STATUS.rate_limited)
  redis.call('ZREM', K.rate_allowed(rate), job)
  redis.call('ZADD', K.rate_waiting(rate), now, job)
  admit(rate, iso)
end

-- A job that is neither queued nor running any more leaves its place to the next.
local function leave(job, rate, iso)
  if rate and rate ~= '' then
    redis.call('ZREM', K.rate_waiting(rate), job)
    redis.call('ZREM', K.rate_allowed(rate), job)
    admit(rate, iso)
  end
end

-- Put a job that is in no list into its queue, or in line for its place there.
local function enqueue(job, queue, at_front, rate, iso)
  if rate and rate ~= '' then
    return line_up(job, rate, iso)
  end
  redis.call('HSET', K.job(job), 'status', STATUS.queued, 'enqueued_at', iso)
  push(job, queue, at_front)
end
