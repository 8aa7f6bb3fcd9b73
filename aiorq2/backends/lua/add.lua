--- Add a job to a queue or to the scheduled. A job of the same id that is not running is replaced, unless `mode` is `unique`.
--- It waits in `lane`, which is the queue unless its caller runs it himself, or for its parents, whose number and ids come before
--- the fields, or for its time, and then for its parents, who hear of it only then. The first write is one that Redis refuses when it is full, so a job is added whole or not at all.
--- ARGV: id queue lane token mode to at delay ttl at_front now_iso policy rate group parent_count ...rest
--- REPLY: OK status · DUPLICATE status · WRONG_STATUS status · CIRCLE parent · WRONG_TYPE
--- @include push
--- @rarely forget forget
--- @rarely parents judge
--- @rarely circle circle
--- @rarely canceled end_as_canceled
--- @rarely defer defer
--- @rarely rate line_up

local DAY = 86400
local first_field = ARG.rest + tonumber(ARG.parent_count)

local function place(verdict, parents)
  if verdict == 'never' and ARG.policy == 'cancel' then
    end_as_canceled(ARG.id, ARG.queue, ARG.now_iso) -- a parent had failed before
  elseif ARG.to ~= STATUS.queued then
    schedule(ARG.id, ARG.queue, ARG.at ~= '' and tonumber(ARG.at) or now + tonumber(ARG.delay))
  elseif verdict ~= 'met' then
    defer(ARG.id, ARG.queue, parents, ARG.policy)
  elseif ARG.rate ~= '' then
    line_up(ARG.id, ARG.rate, ARG.now_iso)
  else
    push(ARG.id, ARG.lane, ARG.at_front == '1')
  end
end

-- Most jobs are new: nothing is known of them, and nobody waits for them.
local key, old, exists = K.job(ARG.id), {}, false
local is_known = redis.call('EXISTS', key, K.replay(ARG.token), K.dependents(ARG.id)) > 0
if is_known then
  old = redis.pcall('HMGET', key, 'status', 'origin', 'aio_token', 'aio_waiters', 'rate_limit_key', 'group_id')
  if old.err then
    return {REPLY.WRONG_TYPE}
  end
  if old[3] == ARG.token or redis.call('EXISTS', K.replay(ARG.token)) == 1 then
    return {REPLY.OK, old[1] or ARG.to}
  end
  exists = old[1] or redis.call('EXISTS', key) == 1
  if exists and ARG.mode == 'unique' then
    return {REPLY.DUPLICATE, old[1] or ''}
  end
  if exists and not VERB.delete.from[old[1] or STATUS.created] then
    return {REPLY.WRONG_STATUS, old[1]}
  end
end
local parents, verdict = {}, 'met'
for i = ARG.rest, first_field - 1 do
  parents[#parents + 1] = ARGV[i]
end
if #parents > 0 then
  verdict = judge(parents, ARG.policy, nil, nil, ARG.policy == 'cancel')
end
local waits_on = verdict == 'pending' or verdict == 'never' and ARG.policy ~= 'cancel'
if waits_on and (exists or is_known and redis.call('EXISTS', K.dependents(ARG.id)) == 1) then -- else nobody can wait for it
  local by = circle(ARG.id, parents)
  if by then
    return {REPLY.CIRCLE, by}
  end
end

redis.call('SADD', K.queues(), K.queue(ARG.queue))
if exists then
  forget(ARG.id, old[2] or ARG.queue, old[1], old[5], ARG.now_iso)
  redis.call('DEL', key, K.results(ARG.id), K.dependencies(ARG.id))
  if (old[6] or '') ~= '' then
    redis.call('SREM', K.group(old[6]), ARG.id) -- it is another job now
  end
end
redis.call('HSET', key, 'status', ARG.to, 'aio_token', ARG.token, unpack(ARGV, first_field))
if exists and old[4] then
  redis.call('HSET', key, 'aio_waiters', old[4])
end
if ARG.ttl ~= '' then
  redis.call('EXPIRE', key, ARG.ttl)
end
if is_known and ARG.ttl ~= '' then
  -- Those that have waited for it since before it was there are known as long as it, and a while longer.
  redis.call('EXPIRE', K.dependents(ARG.id), ARG.ttl + DAY)
elseif is_known then
  redis.call('PERSIST', K.dependents(ARG.id))
end
if ARG.group ~= '' then
  redis.call('SADD', K.groups(), ARG.group)
  redis.call('SADD', K.group(ARG.group), ARG.id)
end
place(verdict, parents)
if verdict == 'met' and ARG.rate == '' then
  return {REPLY.OK, ARG.to}
end
return {REPLY.OK, redis.call('HGET', key, 'status')}
