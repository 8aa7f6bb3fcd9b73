--- End a run that was told to stop. As in RQ, the job joins the failed ones.
--- ARGV: id execution origin worker ended_at ttl ...entry
--- REPLY: OK more · GONE · WRONG_STATUS status · LEASE_LOST
--- @include end_run

local run, refusal = owned(VERB.stop.from)
if refusal then
  return refusal
end
return end_run(run, VERB.stop.to, K.failed, -1)
