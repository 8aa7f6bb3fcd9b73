--- Move jobs that are due into their queue, at most `limit`; those whose parents are not done go on waiting for these. Where an rq
--- scheduler is in charge of a queue, it is left to it: rq moves jobs in two steps that nobody else may come between.
--- @include rate parents canceled defer

-- Whether a job that waited for its time has to wait for its parents now; one that has run before has waited for them.
local function still_waits(job, queue, ids, policy, iso)
  local parents = parents_of(job, ids)
  local verdict = judge(parents, policy, nil, nil, policy == 'cancel')
  if verdict == 'never' and policy == 'cancel' then
    end_as_canceled(job, queue, iso)
  elseif verdict ~= 'met' then
    defer(job, queue, parents, policy)
  end
  return verdict ~= 'met'
end

local function promote(queue, limit)
  local due = redis.pcall('ZRANGEBYSCORE', K.scheduled(queue), '-inf', string.format('%.6f', now), 'LIMIT', 0, limit)
  if #due == 0 or redis.call('EXISTS', K.scheduler_lock(queue)) == 1 or type(redis.pcall('LLEN', K.queue(queue))) ~= 'number' then
    return 0
  end
  for _, id in ipairs(due) do
    local found = redis.pcall('HMGET', K.job(id), 'status', 'enqueue_at_front', 'enqueue_at_front_on_retry', 'started_at',
      'rate_limit_key', 'dependency_ids', 'allow_dependency_failures', 'aio_on_parent_failure', 'repeats_left', 'origin',
      'aio_deaths')
    redis.call('ZREM', K.scheduled(queue), id)
    local is_repeated = not found.err and found[1] == STATUS.finished and found[9] -- rq 2 does not say that it waits
    -- An id may have been given to another job since, which waits for something else, or elsewhere.
    if not found.err and (is_repeated or found[1] == STATUS.scheduled) and (found[10] or queue) == queue then
      local has_run = found[4] and found[4] ~= '' or found[11] -- whose worker has died looks as if nobody had begun it
      local is_dependent = found[6] and found[6] ~= '' and not has_run
      if not (is_dependent and still_waits(id, queue, found[6], policy_of(found[7], found[8]), ARG.now_iso)) then
        enqueue(id, queue, found[2] == '1' or (has_run and found[3] == '1'), found[5], ARG.now_iso)
      end
    end
  end
  return #due
end
