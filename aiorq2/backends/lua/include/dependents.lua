--- Free the jobs that wait for a job which has ended. A slice at a time: what remains is noted in `releasing`, so that whoever comes
--- by goes on with it (release.lua), also when the process that began has died.
--- @include parents push notify keep rate

local SLICE = 100

local function parents_of(child, ids)
  local ok, parents = pcall(cjson.decode, ids or '')
  if ok and type(parents) == 'table' then
    return parents
  end
  return redis.call('SMEMBERS', K.dependencies(child))
end

-- `forced`: the parent counts as done whatever its status says.
local function free(child, parent, iso, forced)
  local key = K.job(child)
  local found = redis.pcall('HMGET', key, 'status', 'origin', 'dependency_ids', 'allow_dependency_failures',
    'aio_on_parent_failure', 'enqueue_at_front', 'aio_waiters', 'failure_ttl', 'rate_limit_key')
  if found.err or found[1] ~= STATUS.deferred then
    return redis.call('SREM', K.dependents(parent), child)
  end
  local origin, policy = found[2] or '', policy_of(found[4], found[5])
  local parents = parents_of(child, found[3])
  local verdict = judge(parents, 1, #parents, policy, forced and parent, policy ~= 'cancel')
  if verdict == 'met' then
    redis.call('ZREM', K.deferred(origin), child)
    redis.call('SREM', K.dependents(parent), child)
    if found[9] and found[9] ~= '' then
      return line_up(child, found[9], nil, iso)
    end
    redis.call('HSET', key, 'status', STATUS.queued, 'enqueued_at', iso)
    push(child, origin, found[6] == '1')
  elseif verdict == 'never' and policy == 'cancel' then
    redis.call('ZREM', K.deferred(origin), child)
    redis.call('SREM', K.dependents(parent), child)
    redis.call('HSET', key, 'status', VERB.cancel.to, 'ended_at', iso)
    redis.call('HDEL', key, 'aio_waiters')
    redis.call('ZADD', K.canceled(origin), now, child)
    expire(child, math.max(seconds(found[8]) or 31536000, 1))
    notify(found[7], child, VERB.cancel.to)
    if redis.call('EXISTS', K.dependents(child)) == 1 then
      redis.call('HSET', K.releasing(), child, '0')
    end
  end
end

-- Returns whether some remain. `note` is where an earlier slice ended, '!' before it when the parent counts as done.
local function free_dependents(parent, iso, note)
  local forced, cursor = string.match(note, '^(!?)(%d+)$')
  local found = redis.call('SSCAN', K.dependents(parent), cursor or '0', 'COUNT', SLICE)
  for _, child in ipairs(found[2]) do
    free(child, parent, iso, forced == '!')
  end
  if found[1] == '0' then
    redis.call('HDEL', K.releasing(), parent)
    return redis.call('EXISTS', K.releasing()) == 1
  end
  redis.call('HSET', K.releasing(), parent, forced .. found[1])
  redis.call('EXPIRE', K.dependents(parent), 86400)
  return true
end
