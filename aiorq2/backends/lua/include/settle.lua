--- What every verb that ends runs begins with: do they still own their jobs? A run is a table: id execution origin.
--- @include lease keep

-- What is to be known of the job of a run. `held` is what its queue's wip set says of it. Returns nil and fills in what the verbs need,
-- or returns the word of the refusal and the job's status. A run that is already settled by this very execution was settled by an
-- earlier copy of this call, whose reply was lost: the answer is OK again.
local function refusal_of(run, held, from)
  local key = K.job(run.id)
  local found = redis.pcall('HMGET', key, 'status', 'aio_waiters', 'aio_cancel')
  if found.err then
    return REPLY.WRONG_TYPE, ''
  end
  local status = found[1]
  if not held then
    local settled = redis.call('HGET', key, 'aio_settled')
    return settled == run.execution and REPLY.OK or status and REPLY.LEASE_LOST or REPLY.GONE, ''
  end
  if not (from[status] or is_misnamed(run.id, run.origin, status)) then
    return status and REPLY.WRONG_STATUS or REPLY.GONE, status or ''
  end
  run.waiters, run.cancel = found[2], found[3]
end
