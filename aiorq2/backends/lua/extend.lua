--- The heartbeat of one worker: move the leases of its runs on, and say what it must know: which leases are lost, which runs are
--- to stop, which executions stand under its name. Runs are given as `id execution origin`. `claiming` are the beginnings of the
--- executions of claims that have not been answered yet, separated by spaces: their leases are kept as well.
--- ARGV: worker instance lease ttl now_iso suspended successes failures working_time claiming ...runs
--- REPLY: OK known lost stopping standing · NAME_TAKEN
--- @include clock lease

local key = K.worker(ARG.worker)
local owner = redis.call('HGET', key, 'aio_instance')
if owner and owner ~= ARG.instance then
  return {REPLY.NAME_TAKEN}
end
-- The first write is one that Redis does not refuse when it is full: no lease ends because of that.
local lease_s = math.ceil(ARG.lease)
redis.call('EXPIRE', K.worker_executions(ARG.worker), lease_s + 60)
local lost, stopping = {}, {}
local epoch = string.format('%.6f', now)
local function extend(job, execution, origin, found)
  if has_lease(job, execution, origin) and found[1] and not STATUS.terminal[found[1]] then
    redis.call('ZADD', K.wip(origin), 'XX', now + ARG.lease, job .. ':' .. execution)
    redis.call('HSET', K.execution(job, execution), 'id', execution, 'job_id', job, 'last_heartbeat', epoch,
      'worker_name', ARG.worker)
    redis.call('HSETNX', K.execution(job, execution), 'created_at', epoch)
    redis.call('EXPIRE', K.execution(job, execution), lease_s)
    redis.call('ZADD', K.executions(job), now + ARG.lease + 60, execution)
    redis.call('EXPIRE', K.executions(job), lease_s + 60)
    if found[2] then
      stopping[#stopping + 1] = execution
    end
  else
    release(job, execution, origin, ARG.worker) -- rq 1 leaves the lease of what it cancels or deletes, rq 2 the entry here
    lost[#lost + 1] = execution
  end
end

for i = ARG.runs, #ARGV, 3 do
  extend(ARGV[i], ARGV[i + 1], ARGV[i + 2], redis.pcall('HMGET', K.job(ARGV[i]), 'status', 'aio_cancel'))
end
local standing = redis.call('SMEMBERS', K.worker_executions(ARG.worker))
for _, member in ipairs(ARG.claiming ~= '' and standing or {}) do
  local job, execution = string.match(member, '^(.*):([^:]*)$')
  if execution and string.find(ARG.claiming, string.sub(execution, 1, -9), 1, true) then
    local found = redis.pcall('HMGET', K.job(job), 'status', 'aio_cancel', 'origin')
    if has_lease(job, execution, found[3] or '') then
      extend(job, execution, found[3], found)
    end
  end
end
if owner then
  local state = ARG.suspended == '1' and 'suspended' or #standing > 0 and 'busy' or 'idle'
  redis.call('HSET', key, 'last_heartbeat', ARG.now_iso, 'state', state, 'successful_job_count', ARG.successes,
    'failed_job_count', ARG.failures, 'total_working_time', ARG.working_time)
  redis.call('EXPIRE', key, ARG.ttl)
end
return {REPLY.OK, owner and 1 or 0, lost, stopping, standing}
