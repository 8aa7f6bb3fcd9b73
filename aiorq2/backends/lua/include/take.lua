--- Start popped jobs for a worker. (ARG: worker lease now_iso last_chance)
--- @include clock
--- @rarely canceled end_as_canceled
--- @rarely rate leave

local deadline = now + ARG.lease
local lease_s = math.ceil(ARG.lease) -- EXPIRE takes whole seconds
-- As texts: Redis would make one of each number each time.
local epoch, until_then, beyond =
  string.format('%.6f', now), string.format('%.6f', deadline), string.format('%.6f', deadline + 60)

-- Whether the wip set of a queue can be written: a claim must not fail between pop and lease.
local sound = {}
local function is_sound(queue)
  if sound[queue] == nil then
    local count = redis.pcall('ZCARD', K.wip(queue))
    sound[queue] = type(count) == 'number'
  end
  return sound[queue]
end

-- The leases of what has been taken, by queue: written together at the end (lease_all).
local leases = {}

local function lease_out(job, execution, origin, is_limited)
  local member = job .. ':' .. execution
  local due = leases[origin] or {}
  due[#due + 1], due[#due + 2], leases[origin] = until_then, member, due
  -- For RQ's readers. Something of another kind may lie there: no matter.
  local key = K.execution(job, execution)
  redis.pcall('HSET', key, 'id', execution, 'job_id', job, 'created_at', epoch, 'last_heartbeat', epoch, 'worker_name', ARG.worker)
  redis.call('EXPIRE', key, lease_s)
  redis.pcall('ZADD', K.executions(job), beyond, execution)
  -- Who takes the lease takes it away, and heartbeats give it an end; rq leaves it to end when it deletes a job with a rate limit.
  if is_limited then
    redis.call('EXPIRE', K.executions(job), lease_s + 60)
  end
  return member
end

local function lease_all()
  for origin, due in pairs(leases) do
    redis.call('ZADD', K.wip(origin), unpack(due))
  end
end

local last_chance = tonumber(ARG.last_chance)

-- Returns the job's fields as they were, its lease, its queue, and whether its next death would be its last; nil where there is nothing
-- to run: gone, cancelled, queued twice, or on its last chance and not to be had alone.
local function take(job, queue, execution, is_alone)
  local key = K.job(job)
  local fields = redis.pcall('HGETALL', key)
  if fields.err then
    return nil
  end
  local has = {}
  for i = 1, #fields, 2 do
    has[fields[i]] = fields[i + 1]
  end
  local origin = has.origin and has.origin ~= '' and has.origin or queue
  if not has.status or not VERB.claim.from[has.status] then
    return nil
  elseif not is_sound(origin) then
    origin = queue
  end
  if has.aio_cancel and has.started_at == '' then -- the run that was to stop is long over: rq has requeued the job since
    redis.call('HDEL', key, 'aio_cancel')
  elseif has.aio_cancel then
    end_as_canceled(job, origin, ARG.now_iso)
    leave(job, has.rate_limit_key, ARG.now_iso)
    return nil
  end
  local is_last = last_chance > 0 and (tonumber(has.aio_deaths) or 0) >= last_chance
  if is_last and not is_alone then
    return nil, nil, nil, true
  end
  local member = lease_out(job, execution, origin, has.rate_limit_key)
  redis.call('HSET', key, 'status', VERB.claim.to, 'started_at', ARG.now_iso, 'worker_name', ARG.worker, 'aio_attempt',
    (tonumber(has.aio_attempt) or 0) + 1)
  if has.ended_at and has.ended_at ~= '' then
    redis.call('HSET', key, 'ended_at', '')
  end
  local is_untouched = has.aio_token and not (has.ttl or has.aio_attempt or has.ended_at) -- since it was added: it cannot expire
  if not is_untouched and redis.call('PERSIST', key) == 1 then -- of a job with a ttl, and of one that rq requeued
    redis.call('PERSIST', K.dependents(job))
  end
  return fields, member, origin, is_last
end
