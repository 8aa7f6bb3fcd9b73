--- End a run badly; the entry says how.
--- ARGV: id execution origin worker ended_at ttl ...entry
--- REPLY: OK more · GONE · WRONG_STATUS status · LEASE_LOST
--- @include end_run

local run, refusal = owned(VERB.fail.from)
if refusal then
  return refusal
end
return end_run(run, VERB.fail.to, K.failed, -1)
