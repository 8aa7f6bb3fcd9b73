--- End a run badly; the entry says how.
--- ARGV: id execution origin worker ended_at ttl ...entry
--- REPLY: OK more · GONE · WRONG_STATUS status · LEASE_LOST
--- @include end_run

local job, refusal = owned(VERB.fail.from)
if refusal then
  return refusal
end
return end_run(job, VERB.fail.to, K.failed(ARG.origin), tonumber(ARG.ttl), ARG.entry)
