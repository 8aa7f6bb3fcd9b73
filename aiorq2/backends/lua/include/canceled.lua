--- Put a job that has not run among the canceled; it is in no other list any more.
--- @include clock keep notify releasing

local function end_as_canceled(job, origin, iso)
  local key = K.job(job)
  local found = redis.call('HMGET', key, 'failure_ttl', 'aio_waiters')
  redis.call('HSET', key, 'status', VERB.cancel.to, 'ended_at', iso)
  redis.call('HDEL', key, 'aio_waiters', 'aio_cancel')
  redis.call('ZADD', K.canceled(origin), now, job)
  local ttl = seconds(found[1]) or YEAR
  expire(job, ttl == 0 and YEAR or ttl) -- long enough to be seen
  notify(found[2], job, VERB.cancel.to)
  release_later(job, VERB.cancel.to)
end
