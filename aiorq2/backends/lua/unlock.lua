--- Take the lock of an rq scheduler off a queue that would stay for ever, or whose `holder` is gone.
--- ARGV: queue holder
--- REPLY: OK removed

local key = K.scheduler_lock(ARG.queue)
local is_pid = string.match(ARG.holder, '^%d+$') -- rq before 2.10; nobody can tell whether it lives
local is_held = redis.call('TTL', key) ~= -1 and (is_pid or redis.call('EXISTS', K.scheduler(ARG.holder)) == 1)
if is_held or redis.call('GET', key) ~= ARG.holder then
  return {REPLY.OK, 0}
end
return {REPLY.OK, redis.call('DEL', key)}
