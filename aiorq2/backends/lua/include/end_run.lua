--- End the one run of a call. (ARG: id execution origin worker ended_at ttl ...entry)
--- @include end_runs

-- Returns the one run of a call, or nil and the refusal.
local function owned(from)
  local run = {id = ARG.id, execution = ARG.execution, origin = ARG.origin, ended_at = ARG.ended_at, ttl = tonumber(ARG.ttl),
    entry = ARGV[ARG.entry] and ARG.entry}
  local word, status = refusal_of(run, has_lease(run.id, run.execution, run.origin), from)
  if word then
    return nil, {word, status ~= '' and status or nil}
  end
  local found = redis.call('HMGET', K.job(run.id), 'ttl', 'rate_limit_key')
  run.life, run.rate = seconds(found[1]), found[2]
  return run
end

-- Returns the reply of a verb that ends one run.
local function end_run(run, to, registry, for_ever)
  local more = end_runs({run}, to, registry, for_ever)
  return problem or {REPLY.OK, more}
end
