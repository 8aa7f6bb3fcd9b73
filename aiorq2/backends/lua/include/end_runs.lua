--- End runs, for good or for a while. (ARG: worker) The first write frees memory (the leases), so runs can end when Redis is full.
--- @include settle clock notify
--- @rarely rate leave
--- @rarely dependents free_dependents

-- Something of another kind may lie under a name. It must not keep anything else from being written: it is told at the end.
local problem
local function try(...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err then
    problem = problem or answer
  end
end

-- The runs by the queues of their jobs.
local function by_origin(runs)
  local groups = {}
  for _, run in ipairs(runs) do
    local group = groups[run.origin] or {}
    group[#group + 1], groups[run.origin] = run, group
  end
  return groups
end

-- Take the leases of all of these runs, and what RQ's readers expect beside them.
local function release_all(runs)
  local members, gone = {}, {}
  for origin, group in pairs(by_origin(runs)) do
    local first = #members + 1
    for _, run in ipairs(group) do
      members[#members + 1] = run.id .. ':' .. run.execution
      gone[#gone + 1] = K.execution(run.id, run.execution)
      gone[#gone + 1] = K.first_seen(origin, run.id)
    end
    redis.call('ZREM', K.wip(origin), unpack(members, first))
  end
  redis.call('DEL', unpack(gone))
  for _, run in ipairs(runs) do
    try('ZREM', K.executions(run.id), run.execution)
  end
  try('SREM', K.worker_executions(ARG.worker), unpack(members))
end

-- `run.entry` is the place in ARGV from which the fields of a result entry are given, if one is to be written.
local function keep_entry(run)
  if run.entry then
    try('XADD', K.results(run.id), 'MAXLEN', '~', 10, '*', unpack(ARGV, run.entry))
  end
end

-- Returns 1 if some of those that wait for the job are still to be freed.
local function tell_dependents(run, how)
  if redis.call('EXISTS', K.dependents(run.id)) == 0 then
    return 0
  end
  return free_dependents(run.id, how .. ' 0', run.ended_at)
end

local function keep_job(run, to)
  local key = K.job(run.id)
  if run.value and not run.entry then
    redis.call('HSET', key, 'status', to, 'ended_at', run.ended_at, 'aio_settled', run.execution, 'result', run.value)
  else
    redis.call('HSET', key, 'status', to, 'ended_at', run.ended_at, 'aio_settled', run.execution)
  end
  if run.waiters or run.cancel then
    redis.call('HDEL', key, 'aio_waiters', 'aio_cancel')
  end
  keep_entry(run)
  if run.ttl > 0 then
    redis.call('EXPIRE', key, run.ttl)
  else
    redis.call('PERSIST', key)
  end
end

local function erase_job(run)
  local found = redis.call('HMGET', K.job(run.id), 'aio_token', 'aio_call')
  erase(run.id, found[1], found[2])
end

-- `registry` names the set that they join: by the end of their time, and those that stay for ever by `for_ever`. What lies beside a
-- job is rare: it is asked for all of them at once. Returns whether there is anything.
local function settle_all(runs, to, registry, for_ever)
  release_all(runs)
  local ends, beside = {}, {}
  for origin, group in pairs(by_origin(runs)) do
    local joining = {}
    for _, run in ipairs(group) do
      if run.ttl == 0 then
        erase_job(run)
      else
        keep_job(run, to)
        ends[run.ttl] = ends[run.ttl] or run.ttl > 0 and string.format('%.6f', now + run.ttl) or for_ever
        joining[#joining + 1], joining[#joining + 2] = ends[run.ttl], run.id
      end
      beside[#beside + 1] = K.results(run.id)
      beside[#beside + 1] = K.dependents(run.id)
      beside[#beside + 1] = K.dependencies(run.id)
    end
    if #joining > 0 then
      try('ZADD', registry(origin), unpack(joining))
    end
  end
  return redis.call('EXISTS', unpack(beside)) > 0
end

-- Returns 1 if some of those that wait for them are still to be freed.
local function end_runs(runs, to, registry, for_ever)
  local is_any_beside, more = settle_all(runs, to, registry, for_ever), 0
  for _, run in ipairs(runs) do
    if is_any_beside and run.ttl ~= 0 then
      expire(run.id, run.ttl)
    end
    if run.rate then
      leave(run.id, run.rate, run.ended_at)
    end
    notify(run.waiters, run.id, to, run.value)
    if is_any_beside then
      more = math.max(more, tell_dependents(run, run.cancel == '2' and STATUS.finished or to))
    end
  end
  return more
end
