--- @include rate
--- Take a job that is not running out of the list or registry that its status puts it in.

local REGISTRY = {
  finished = K.finished, failed = K.failed, stopped = K.failed, deferred = K.deferred, scheduled = K.scheduled,
  canceled = K.canceled, ready_to_enqueue = K.ready,
}

local function forget(job, origin, status, rate, iso)
  if status == STATUS.queued or not status then
    redis.call('LREM', K.queue(origin), 0, job)
  elseif REGISTRY[status] then
    redis.call('ZREM', REGISTRY[status](origin), job)
  end
  leave(job, rate, iso)
end
