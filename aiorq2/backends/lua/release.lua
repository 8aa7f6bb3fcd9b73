--- Go on freeing the dependents of a job that has ended, where an earlier script stopped after a slice.
--- ARGV: now_iso
--- REPLY: OK more
--- @include dependents

local parent = redis.call('HSCAN', K.releasing(), 0, 'COUNT', 1)[2]
if parent[1] then
  free_dependents(parent[1], ARG.now_iso, parent[2])
end
return {REPLY.OK, redis.call('EXISTS', K.releasing())}
