--- Write a recurring entry and its template. `mode`: `replace` what there is, `update` it (what has not changed is left alone), or
--- `declare` it (the same, but an entry that has ended stays so), or `edit` it (the same, but one that has ended begins again only if
--- `repeat` is another, or its times are and it has runs left). An entry whose times are not touched keeps the one that is pending.
--- What code has declared, other code may not. `revision`, if given, is that of the entry the caller has seen; `version` that of the code that declares it: the newest wins.
--- ARGV: cron queue token mode revision source version definition rhythm times tick due now_iso field_count ...rest
--- REPLY: OK what · CHANGED · DUPLICATE source · WRONG_TYPE
--- @include arm

local key, first_template = K.cron(ARG.cron), ARG.rest + tonumber(ARG.field_count)
local KEPT = {'created_at', 'runs', 'skipped', 'last_tick', 'last_run_at', 'last_job'}

local old = {}
local found = redis.pcall('HGETALL', key)
if found.err then
  return {REPLY.WRONG_TYPE}
end
for i = 1, #found, 2 do
  old[found[i]] = found[i + 1]
end
local exists = old.revision ~= nil
if old.call == ARG.token then
  return {REPLY.OK, old.call_did}
end
local newest = ARG.version ~= '' and tonumber(redis.call('HGET', K.cron_sources(), ARG.source) or '')
if newest and newest > tonumber(ARG.version) or ARG.revision ~= '' and old.revision ~= ARG.revision then
  return {REPLY.CHANGED}
end
if ARG.source ~= '' and (old.source or '') ~= '' and old.source ~= ARG.source then
  return {REPLY.DUPLICATE, old.source}
end
local source = ARG.source ~= '' and ARG.source or old.source or '' -- what is changed at run time stays declared
if ARG.version ~= '' then
  redis.call('HSET', K.cron_sources(), ARG.source, ARG.version)
end
local has_ended = old.state == 'ended'
local is_same = exists and old.definition == ARG.definition and old.source == source
if is_same and (ARG.mode == 'declare' or ARG.mode == 'edit' or ARG.mode == 'update' and not has_ended) then
  if old.state == 'active' then
    redis.pcall('SADD', K.queues(), K.queue(ARG.queue)) -- it may have been deleted; a full Redis keeps nobody from being told
  end
  return {REPLY.OK, 'unchanged'}
end

local goes_on = exists and ARG.mode ~= 'replace' and (not has_ended or ARG.mode == 'edit')
local stays_ended = has_ended and goes_on and (old['repeat'] or '') == ARG.times
  and (old.rhythm == ARG.rhythm or tonumber(old.runs_left or '') == 0)
local keeps_time = goes_on and (stays_ended or not has_ended and old.rhythm == ARG.rhythm)
local state = stays_ended and 'ended' or goes_on and not has_ended and old.state or 'active'
local kept_ms = stays_ended and redis.call('PTTL', key)
local tick, due = keeps_time and old.tick or ARG.tick, keeps_time and old.due or ARG.due
local did = exists and 'updated' or 'added'
redis.call('SADD', K.queues(), K.queue(ARG.queue)) -- refused when Redis is full, before anything is written
if exists and old.queue and old.queue ~= ARG.queue then
  redis.call('ZREM', K.crons(old.queue), ARG.cron)
end
redis.call('DEL', key, K.cron_job(ARG.cron))
redis.call('HSET', key, 'name', ARG.cron, 'queue', ARG.queue, 'state', state, 'revision', (tonumber(old.revision) or 0) + 1,
  'source', source, 'definition', ARG.definition, 'rhythm', ARG.rhythm, 'tick', tick, 'due', due, 'created_at', ARG.now_iso,
  'updated_at', ARG.now_iso, 'call', ARG.token, 'call_did', did, unpack(ARGV, ARG.rest, first_template - 1))
for _, field in ipairs(goes_on and KEPT or {}) do
  if old[field] then
    redis.call('HSET', key, field, old[field])
  end
end
if keeps_time and old.anchor then
  redis.call('HSET', key, 'anchor', old.anchor)
end
if ARG.times ~= '' then
  local left = goes_on and old['repeat'] == ARG.times and old.runs_left
  redis.call('HSET', key, 'repeat', ARG.times, 'runs_left', left or ARG.times)
end
redis.call('HSET', K.cron_job(ARG.cron), unpack(ARGV, first_template))
if stays_ended then
  for _, one in ipairs(kept_ms > 0 and {key, K.cron_job(ARG.cron)} or {}) do
    redis.call('PEXPIRE', one, kept_ms)
  end
  return {REPLY.OK, did}
end
redis.call('PERSIST', K.cron_runs(ARG.cron))
redis.call('ZADD', K.cron_names(), 0, ARG.cron)
if state == 'active' then
  arm(ARG.queue, ARG.cron, tonumber(due))
end
return {REPLY.OK, did}
