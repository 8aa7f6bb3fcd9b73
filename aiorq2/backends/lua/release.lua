--- Go on freeing the dependents of a job that has ended, where an earlier script stopped after a slice.
--- ARGV: now_iso
--- REPLY: OK more
--- @include dependents

local parent = redis.call('HRANDFIELD', K.releasing(), 1)[1]
if not parent then
  return {REPLY.OK, 0}
end
return {REPLY.OK, free_dependents(parent, redis.call('HGET', K.releasing(), parent), ARG.now_iso)}
