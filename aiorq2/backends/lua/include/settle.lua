--- What every verb that ends a run begins with: does this run still own the job? (ARG: id execution origin worker)
--- @include lease keep

-- Returns what the verb needs of the job, or nil and the refusal. A run that is already settled by this very execution was
-- settled by an earlier copy of this call, whose reply was lost: the answer is OK again.
local function owned(from)
  local held = has_lease(ARG.id, ARG.execution, ARG.origin)
  local found = redis.call('HMGET', K.job(ARG.id), 'status', 'aio_settled', 'aio_waiters', 'aio_cancel', 'aio_token', 'ttl',
    'aio_call', 'rate_limit_key')
  if not held then
    if found[2] == ARG.execution then
      return nil, {REPLY.OK}
    end
    return nil, {found[1] and REPLY.LEASE_LOST or REPLY.GONE}
  end
  if not (from[found[1]] or is_misnamed(ARG.id, ARG.origin, found[1])) then
    return nil, {found[1] and REPLY.WRONG_STATUS or REPLY.GONE, found[1] or ''}
  end
  return {waiters = found[3], cancel = found[4], token = found[5], ttl = seconds(found[6]), call = found[7],
    rate = found[8]}
end
