--- Delete up to `limit` queued jobs of a queue, with their results. Of a job that runs or has ended only the id goes.
--- ARGV: queue limit now_iso
--- REPLY: OK removed more
--- @include clock keep notify rate

local ids = redis.call('LPOP', K.queue(ARG.queue), ARG.limit) or {}
for _, id in ipairs(ids) do
  local found = redis.pcall('HMGET', K.job(id), 'status', 'aio_waiters', 'aio_token', 'rate_limit_key')
  if found[1] == STATUS.queued then
    erase(id, found[3])
    leave(id, found[4], ARG.now_iso)
    redis.call('DEL', K.dependents(id))
    notify(found[2], id, 'deleted')
  end
end
return {REPLY.OK, #ids, redis.call('EXISTS', K.queue(ARG.queue))}
