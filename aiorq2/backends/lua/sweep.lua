--- Trim the registries of a queue: finished and failed jobs whose time is over, canceled ones that are gone; at most `limit` each.
--- `before` is the time up to which it is over, by default now.
--- ARGV: queue limit before
--- REPLY: OK removed
--- @include clock

local removed = 0
local before = ARG.before ~= '' and ARG.before or string.format('%.6f', now)
for _, registry in ipairs({K.finished(ARG.queue), K.failed(ARG.queue)}) do
  local over = redis.call('ZRANGEBYSCORE', registry, 0, before, 'LIMIT', 0, ARG.limit)
  for _, id in ipairs(over) do
    removed = removed + redis.call('ZREM', registry, id)
  end
end
-- Those of rq stay for ever, so others are looked at each time.
local count, limit = redis.call('ZCARD', K.canceled(ARG.queue)), tonumber(ARG.limit)
local first = count > limit and math.floor(now * 1000) % count or 0
for _, id in ipairs(redis.call('ZRANGE', K.canceled(ARG.queue), first, first + limit - 1)) do
  if redis.call('EXISTS', K.job(id)) == 0 then
    removed = removed + redis.call('ZREM', K.canceled(ARG.queue), id)
  end
end
for _, worker in ipairs(redis.call('SRANDMEMBER', K.queue_workers(ARG.queue), ARG.limit)) do
  if redis.call('EXISTS', worker) == 0 then
    redis.call('SREM', K.queue_workers(ARG.queue), worker)
    redis.call('SREM', K.workers(), worker)
  end
end
return {REPLY.OK, removed}
