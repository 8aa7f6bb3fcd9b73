--- Make the runs of a recurring entry that is due, and say when it is due next (blank: never, it ends). Whoever comes second finds it
--- changed, as does one who was frozen after it looked (`seen` is when). Ticks are given as `tick iso job`.
--- `kept` is how many seconds an entry that has ended is to be seen; 0: not at all.
--- ARGV: cron token due revision seen next_tick next_due now_iso error kept ...ticks
--- REPLY: OK jobs state · GONE · CHANGED
--- @include spawn arm

local STALE = 5 -- seconds after which a decision must be made anew
local key = K.cron(ARG.cron)
local entry = redis.pcall('HMGET', key, 'revision', 'due', 'state', 'queue', 'overlap', 'runs_left', 'history', 'call', 'runs', 'skipped')
if entry.err or not entry[1] then
  return {redis.call('EXISTS', K.replay(ARG.token)) == 1 and REPLY.OK or REPLY.GONE, {}, ''}
elseif entry[8] == ARG.token then
  return {REPLY.OK, {}, entry[3]}
elseif entry[1] ~= ARG.revision or entry[2] ~= ARG.due or entry[3] ~= 'active' or now - ARG.seen > STALE then
  return {REPLY.CHANGED}
end
if #ARGV >= ARG.ticks and type(redis.pcall('LLEN', K.queue(entry[4]))) ~= 'number' then
  return redis.error_reply('queue ' .. entry[4] .. ' is no list') -- something else lies there; nothing may fail half-way
end
local template = redis.pcall('HGETALL', K.cron_job(ARG.cron))
if template.err or #template == 0 then
  redis.call('ZREM', K.crons(entry[4]), ARG.cron)
  return {REPLY.GONE, {}, ''}
end

local runs_left = seconds(entry[6]) and math.max(seconds(entry[6]), 0)
local jobs, skipped, last = {}, 0, {}
for i = ARG.ticks, #ARGV, 3 do
  local tick, tick_iso, job = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local is_made = redis.call('EXISTS', K.job(job)) == 1 -- whatever happened to the entry meanwhile
  if not is_made and runs_left ~= 0
      and spawn(ARG.cron, template, job, ARG.token .. i, tick, tick_iso, ARG.now_iso, entry[5]) then
    jobs[#jobs + 1] = job
    last = {'last_tick', tick, 'last_run_at', ARG.now_iso, 'last_job', job}
    runs_left = runs_left and runs_left - 1
  elseif not is_made and runs_left ~= 0 then
    skipped = skipped + 1
  end
end
forget_runs(ARG.cron, entry[7])
redis.call('HSET', key, 'tick', ARG.next_tick, 'due', ARG.next_due, 'call', ARG.token, 'call_did', '', 'error', ARG.error,
  'runs', (seconds(entry[9]) or 0) + #jobs, 'skipped', (seconds(entry[10]) or 0) + skipped, 'runs_left', runs_left or '', unpack(last))
if ARG.next_due ~= '' and runs_left ~= 0 then
  arm(entry[4], ARG.cron, tonumber(ARG.next_due))
  return {REPLY.OK, jobs, 'active'}
end

redis.call('ZREM', K.crons(entry[4]), ARG.cron)
if ARG.kept == '0' then
  redis.call('DEL', key, K.cron_job(ARG.cron), K.cron_runs(ARG.cron))
  redis.call('ZREM', K.cron_names(), ARG.cron)
  redis.call('SET', K.replay(ARG.token), 1, 'EX', 60)
  return {REPLY.OK, jobs, 'ended'}
end
redis.call('HSET', key, 'state', 'ended', 'tick', '', 'due', '')
for _, one in ipairs({key, K.cron_job(ARG.cron), K.cron_runs(ARG.cron)}) do
  redis.call('EXPIRE', one, ARG.kept)
end
redis.call('ZREMRANGEBYSCORE', K.cron_names(), 1, now) -- others that have ended and are gone
redis.call('ZADD', K.cron_names(), now + ARG.kept, ARG.cron)
return {REPLY.OK, jobs, 'ended'}
