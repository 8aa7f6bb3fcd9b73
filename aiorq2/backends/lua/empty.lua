--- Delete up to `limit` queued jobs of a queue, with their results. Of a job that runs or has ended only the id goes.
--- `left` is how many waited behind them; those that get in now, since others have left their rate limit, are not counted.
--- ARGV: queue limit now_iso
--- REPLY: OK removed left more
--- @include clock keep notify releasing rate

local ids = redis.call('LPOP', K.queue(ARG.queue), ARG.limit) or {}
local left = redis.call('LLEN', K.queue(ARG.queue))
for _, id in ipairs(ids) do
  local found = redis.pcall('HMGET', K.job(id), 'status', 'aio_waiters', 'aio_token', 'rate_limit_key')
  if found[1] == STATUS.queued then
    erase(id, found[3])
    leave(id, found[4], ARG.now_iso)
    notify(found[2], id, 'deleted')
    release_later(id, 'deleted')
  end
end
return {REPLY.OK, #ids, left, redis.call('EXISTS', K.releasing())}
