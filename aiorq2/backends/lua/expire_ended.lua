--- Give a job that has ended, and what belongs to it, the time to live that it lacks: until it leaves its registry, at least a day.
--- ARGV: id
--- REPLY: OK given
--- @include clock keep

local DAY = 86400
local found = redis.pcall('HMGET', K.job(ARG.id), 'status', 'origin')
if found.err or not STATUS.terminal[found[1] or ''] or redis.call('PTTL', K.job(ARG.id)) ~= -1 then
  return {REPLY.OK, 0}
end
local registry = found[1] == STATUS.finished and K.finished or K.failed
local score = tonumber(redis.call('ZSCORE', registry(found[2] or ''), ARG.id) or '') or 0
if score <= 0 or score == math.huge then
  return {REPLY.OK, 0} -- it is to stay for ever
end
expire(ARG.id, math.max(math.ceil(score - now), DAY))
return {REPLY.OK, 1}
