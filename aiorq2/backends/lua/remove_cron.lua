--- Remove a recurring entry; the jobs that it has made stay. With a `version`, that of the code that no longer declares it, only if
--- nothing newer has spoken; with a `source`, only if the entry is of it.
--- ARGV: cron token source version
--- REPLY: OK · GONE · CHANGED

local key = K.cron(ARG.cron)
local found = redis.pcall('HMGET', key, 'revision', 'queue', 'source')
if found.err or not found[1] then
  return {redis.call('EXISTS', K.replay(ARG.token)) == 1 and REPLY.OK or REPLY.GONE}
end
local newest = ARG.version ~= '' and tonumber(redis.call('HGET', K.cron_sources(), ARG.source) or '')
if newest and newest > tonumber(ARG.version) or ARG.source ~= '' and found[3] ~= ARG.source then
  return {REPLY.CHANGED}
end
redis.call('DEL', key, K.cron_job(ARG.cron), K.cron_runs(ARG.cron))
redis.call('ZREM', K.cron_names(), ARG.cron)
redis.call('ZREM', K.crons(found[2] or ''), ARG.cron)
redis.call('SET', K.replay(ARG.token), 1, 'EX', 60)
if ARG.version ~= '' then
  redis.call('HSET', K.cron_sources(), ARG.source, ARG.version)
end
return {REPLY.OK}
