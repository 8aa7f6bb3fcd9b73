--- Put jobs into their queue whose parents are done and that rq has left on the way there for `age` seconds, at most `limit`.
--- ARGV: queue limit age now_iso
--- REPLY: OK moved
--- @include rate

local upto = string.format('%.6f', now - ARG.age)
local ids = redis.call('ZRANGEBYSCORE', K.ready(ARG.queue), '-inf', upto, 'LIMIT', 0, ARG.limit)
for _, id in ipairs(ids) do
  local found = redis.pcall('HMGET', K.job(id), 'status', 'enqueue_at_front', 'rate_limit_key')
  redis.call('ZREM', K.ready(ARG.queue), id)
  if not found.err and found[1] == STATUS.ready_to_enqueue and VERB.promote.from[found[1]] then
    enqueue(id, ARG.queue, found[2] == '1', found[3], ARG.now_iso)
  end
end
return {REPLY.OK, #ids}
