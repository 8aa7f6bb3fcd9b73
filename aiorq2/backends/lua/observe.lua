--- Read a job and its latest result entry; if it has not ended, leave word at which inbox its end is to be told.
--- ARGV: id inbox
--- REPLY: OK fields entries · GONE

local key = K.job(ARG.id)
local fields = redis.call('HGETALL', key)
if #fields == 0 then
  return {REPLY.GONE}
end
local found = redis.call('HMGET', key, 'status', 'aio_waiters')
if STATUS.terminal[found[1] or ''] then
  return {REPLY.OK, fields, redis.call('XREVRANGE', K.results(ARG.id), '+', '-', 'COUNT', 1)}
end
local waiters = found[2] or ''
if ARG.inbox ~= '' and not string.find(waiters, ARG.inbox, 1, true) then
  redis.pcall('HSET', key, 'aio_waiters', waiters .. ' ' .. ARG.inbox) -- refused when Redis is full; then the next look sees the end
end
return {REPLY.OK, fields, {}}
