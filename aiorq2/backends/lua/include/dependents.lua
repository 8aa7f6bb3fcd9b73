--- Free the jobs that wait for one which has ended or goes away. A slice at a time: what remains is noted in `releasing`, so that
--- whoever comes by goes on with it (release.lua), also when the process that began has died.
--- @include parents canceled rate

local SLICE = 100

-- `dependencies` holds the parents that have not counted as done, and never is empty while a job waits.
local function has_met(child, parent)
  local noted = K.dependencies(child)
  return redis.call('EXISTS', noted) == 1 and redis.call('SISMEMBER', noted, parent) == 0
end

-- The parent and the one that was unmet last settle it most often; all of them are looked at only then.
local function verdict_on(child, parent, how, policy, ids, last_unmet)
  local function was_met(one) -- one that was cancelled with `enqueue_dependents`
    return has_met(child, one)
  end
  local verdict, unmet = judge({last_unmet or parent, parent}, policy, parent, how, false, was_met)
  if verdict == 'met' or not parent then
    local function gone(one)
      return redis.call('SISMEMBER', K.dependencies(child), one) == 1 and 'deleted'
    end
    verdict, unmet = judge(parents_of(child, ids), policy, parent, how, not parent and policy == 'cancel', was_met,
      not parent and gone)
    if unmet then
      redis.call('HSET', K.job(child), 'aio_unmet', unmet)
    end
  end
  return verdict
end

-- `parent` is nil where nobody has just ended; then a parent that is gone counts as done only if it is known to have been. One that
-- is erased (`is_gone`) after it has counted as done, still does.
local function free(child, parent, how, iso, is_gone)
  local found = redis.pcall('HMGET', K.job(child), 'status', 'origin', 'dependency_ids', 'allow_dependency_failures',
    'aio_on_parent_failure', 'enqueue_at_front', 'rate_limit_key', 'aio_unmet')
  if found.err or found[1] ~= STATUS.deferred then
    return parent and redis.call('SREM', K.dependents(parent), child)
  end
  local origin, policy = found[2] or '', policy_of(found[4], found[5])
  how = is_gone and BAD[how] and has_met(child, parent) and STATUS.finished or how
  local verdict = verdict_on(child, parent, how, policy, found[3], found[8])
  if verdict == 'pending' or verdict == 'never' and policy ~= 'cancel' then
    return parent and redis.call(is_met(how, policy) and 'SREM' or 'SADD', K.dependencies(child), parent)
  end
  redis.call('ZREM', K.deferred(origin), child)
  if parent then
    redis.call('SREM', K.dependents(parent), child)
  end
  if verdict == 'never' then
    end_as_canceled(child, origin, iso)
  else
    enqueue(child, origin, found[6] == '1', found[7], iso)
  end
end

-- `note`: the status in which the parent ended (`deleted`: it had not), and the cursor at which an earlier slice stopped.
-- Returns 1 if there is more to do, here or elsewhere, else 0.
local function free_dependents(parent, note, iso)
  local how, cursor = string.match(note, '^(%a+) (%d+)$')
  local found = redis.pcall('SSCAN', K.dependents(parent), cursor or '0', 'COUNT', SLICE)
  found = found.err and {'0', {}} or found
  local is_gone = redis.call('EXISTS', K.job(parent)) == 0
  for _, child in ipairs(found[2]) do
    free(child, parent, how, iso, is_gone)
  end
  if found[1] ~= '0' then
    redis.call('HSET', K.releasing(), parent, how .. ' ' .. found[1])
    redis.call('PERSIST', K.dependents(parent))
    return 1
  end
  redis.call('HDEL', K.releasing(), parent)
  -- Those that go on waiting are remembered as long as the parent.
  local left = redis.call('PTTL', K.job(parent))
  if left == -2 then
    redis.call('DEL', K.dependents(parent))
  elseif left >= 0 then
    redis.call('PEXPIRE', K.dependents(parent), left)
  end
  return redis.call('EXISTS', K.releasing())
end

-- The parent was erased: should it have ended before, those that wait are judged by that.
local function orphan(parent, status, iso)
  local noted = string.match(redis.call('HGET', K.releasing(), parent) or '', '^%a+')
  return free_dependents(parent, (noted or STATUS.terminal[status or ''] and status or 'deleted') .. ' 0', iso)
end
