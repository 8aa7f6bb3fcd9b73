--- The lease of a run: `<job>:<execution>` in the queue's wip set, and the records that RQ's readers expect beside it.

local function has_lease(job, execution, origin)
  return redis.call('ZSCORE', K.wip(origin), job .. ':' .. execution)
end

-- Whether a job with a lease runs although its status says that it waits: it is not where it says. `job.save()` of rq writes the status
-- that an old handle knew, and rq may die between the status and the move.
local function is_misnamed(job, origin, status)
  if status == STATUS.queued then
    return not redis.call('LPOS', K.queue(origin), job)
  elseif status == STATUS.scheduled then
    return not redis.call('ZSCORE', K.scheduled(origin), job)
  elseif status == STATUS.deferred then
    return not redis.call('ZSCORE', K.deferred(origin), job)
  end
  return false
end

local function release(job, execution, origin, worker)
  local member = job .. ':' .. execution
  redis.call('ZREM', K.wip(origin), member)
  redis.call('DEL', K.execution(job, execution), K.first_seen(origin, job))
  redis.call('ZREM', K.executions(job), execution)
  redis.call('SREM', K.worker_executions(worker), member)
end
