--- Delete up to `limit` queued jobs of a queue, with their results.
--- ARGV: queue limit
--- REPLY: OK removed more
--- @include keep notify

local ids = redis.call('LPOP', K.queue(ARG.queue), ARG.limit) or {}
for _, id in ipairs(ids) do
  local found = redis.pcall('HMGET', K.job(id), 'aio_waiters', 'aio_token')
  erase(id, not found.err and found[2])
  notify(not found.err and found[1], id, 'deleted')
end
return {REPLY.OK, #ids, redis.call('EXISTS', K.queue(ARG.queue))}
