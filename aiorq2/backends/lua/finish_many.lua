--- End many runs well: those whose results go into the hashes of their jobs, and whose jobs neither repeat nor have a rate limit. What
--- is wrong with one is no matter of the others. A run is given as `id execution origin ended_at ttl result`. The reply names those
--- that were refused, by place (from 0), word and status.
--- ARGV: worker ...runs
--- REPLY: OK more refused · WRONG_TYPE (only among the refused)
--- @include end_runs

local runs = {}
for i = ARG.runs, #ARGV, 6 do
  runs[#runs + 1] = {place = #runs, id = ARGV[i], execution = ARGV[i + 1], origin = ARGV[i + 2], ended_at = ARGV[i + 3],
    ttl = tonumber(ARGV[i + 4]), value = ARGV[i + 5] ~= '' and ARGV[i + 5] or nil}
end

local owned, refused = {}, {}
for origin, group in pairs(by_origin(runs)) do
  local members = {}
  for i, run in ipairs(group) do
    members[i] = run.id .. ':' .. run.execution
  end
  local held = redis.pcall('ZMSCORE', K.wip(origin), unpack(members))
  for i, run in ipairs(group) do
    local word, status = refusal_of(run, held[i], VERB.finish.from)
    if held.err or word then
      refused[#refused + 1] = {run.place, held.err and REPLY.WRONG_TYPE or word, status or ''}
    else
      owned[#owned + 1] = run
    end
  end
end
local more = #owned > 0 and end_runs(owned, STATUS.finished, K.finished, '+inf') or 0
return problem or {REPLY.OK, more, refused}
