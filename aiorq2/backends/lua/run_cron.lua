--- Make a run of a recurring entry now, whatever its times, policies and state say.
--- ARGV: cron token job tick_iso now_iso
--- REPLY: OK · GONE
--- @include spawn

local key = K.cron(ARG.cron)
local entry = redis.pcall('HMGET', key, 'revision', 'history')
local template = redis.pcall('HGETALL', K.cron_job(ARG.cron))
if redis.call('HGET', K.job(ARG.job), 'aio_token') == ARG.token or redis.call('EXISTS', K.replay(ARG.token)) == 1 then
  return {REPLY.OK}
elseif entry.err or not entry[1] or template.err or #template == 0 then
  return {REPLY.GONE}
end
spawn(ARG.cron, template, ARG.job, ARG.token, string.format('%.3f', now), ARG.tick_iso, ARG.now_iso, 'allow')
redis.call('ZREMRANGEBYRANK', K.cron_runs(ARG.cron), 0, -1 - (tonumber(entry[2]) or 20))
redis.call('HSET', key, 'last_run_at', ARG.now_iso, 'last_job', ARG.job)
redis.call('HINCRBY', key, 'runs', 1)
return {REPLY.OK}
