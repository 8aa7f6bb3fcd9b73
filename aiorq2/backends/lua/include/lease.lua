--- The lease of a run: `<job>:<execution>` in the queue's wip set, and the records that RQ's readers expect beside it.

local function has_lease(job, execution, origin)
  return redis.call('ZSCORE', K.wip(origin), job .. ':' .. execution)
end

local function release(job, execution, origin, worker)
  local member = job .. ':' .. execution
  redis.call('ZREM', K.wip(origin), member)
  redis.call('DEL', K.execution(job, execution), K.first_seen(origin, job))
  redis.call('ZREM', K.executions(job), execution)
  redis.call('SREM', K.worker_executions(worker), member)
end
