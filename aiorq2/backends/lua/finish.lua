--- End a run well. The result goes into the job's hash, or into the stream when an entry is given.
--- ARGV: id execution origin worker ended_at ttl result ...entry
--- REPLY: OK · GONE · WRONG_STATUS status · LEASE_LOST
--- @include end_run

local job, refusal = owned(VERB.finish.from)
if refusal then
  return refusal
end
local value = ARG.result ~= '' and ARG.result or nil
end_run(job, VERB.finish.to, K.finished(ARG.origin), tonumber(ARG.ttl), ARG.entry, value)
return {REPLY.OK}
