--- Note how far a job is, and tell those who follow it.
--- ARGV: id progress
--- REPLY: OK · GONE
--- @include notify

local key = K.job(ARG.id)
local waiters = redis.call('HMGET', key, 'status', 'aio_waiters')
if not waiters[1] then
  return {REPLY.GONE}
end
redis.call('HSET', key, 'aio_progress', ARG.progress)
notify(waiters[2], ARG.id, 'progress', ARG.progress)
return {REPLY.OK}
