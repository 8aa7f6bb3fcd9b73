--- Move jobs that are due into their queue, at most `limit`. Where an rq scheduler is in charge of a queue, it is left to it:
--- rq moves jobs in two steps that nobody else may come between.
--- @include rate

local function promote(queue, limit)
  local due = redis.pcall('ZRANGEBYSCORE', K.scheduled(queue), '-inf', string.format('%.6f', now), 'LIMIT', 0, limit)
  if #due == 0 or redis.call('EXISTS', K.scheduler_lock(queue)) == 1 or type(redis.pcall('LLEN', K.queue(queue))) ~= 'number' then
    return 0
  end
  for _, id in ipairs(due) do
    local found = redis.pcall('HMGET', K.job(id), 'status', 'enqueue_at_front', 'enqueue_at_front_on_retry', 'started_at',
      'rate_limit_key', 'repeats_left')
    redis.call('ZREM', K.scheduled(queue), id)
    local is_repeated = not found.err and found[1] == STATUS.finished and found[6] -- rq 2 does not say that it waits
    if is_repeated or not found.err and found[1] and VERB.promote.from[found[1]] then
      local is_retried = found[4] and found[4] ~= ''
      enqueue(id, queue, found[2] == '1' or (is_retried and found[3] == '1'), found[5], ARG.now_iso)
    end
  end
  return #due
end
