--- Put jobs back that an rq worker has taken out of their queue and not started, since it died: those that were in the same place
--- `age` seconds ago as well. Of the first `limit` of them. (rq's own upkeep lets such a job fail.)
--- ARGV: queue limit age
--- REPLY: OK moved
--- @include push

local list, noted = K.intermediate(ARG.queue), K.stuck(ARG.queue)
local ids = redis.pcall('LRANGE', list, 0, ARG.limit - 1)
if ids.err or #ids == 0 then
  return {REPLY.OK, 0}
end
local before = redis.call('HMGET', noted, unpack(ids))
redis.call('DEL', noted)

-- Under way: with a lease it is the reaper's.
local function is_leased(id)
  return redis.call('EXISTS', K.executions(id)) == 1 or redis.call('ZSCORE', K.wip(ARG.queue), id)
end

local moved = 0
for i, id in ipairs(ids) do
  local status = redis.pcall('HGET', K.job(id), 'status')
  if status == STATUS.queued and not is_leased(id) then
    local since = tonumber(before[i]) or now
    if now - since < tonumber(ARG.age) then
      redis.call('HSET', noted, id, string.format('%.6f', since))
    else
      redis.call('LREM', list, 1, id)
      if not redis.call('LPOS', K.queue(ARG.queue), id) then
        push(id, ARG.queue, true)
        moved = moved + 1
      end
    end
  end
end
redis.call('EXPIRE', noted, 3600)
return {REPLY.OK, moved}
