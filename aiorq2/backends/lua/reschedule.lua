--- Give a scheduled job another time.
--- ARGV: id at
--- REPLY: OK · GONE · WRONG_STATUS status
--- @include push

local found = redis.call('HMGET', K.job(ARG.id), 'status', 'origin')
if not found[1] then
  return {REPLY.GONE}
elseif not VERB.reschedule.from[found[1]] then
  return {REPLY.WRONG_STATUS, found[1]}
end
schedule(ARG.id, found[2] or '', tonumber(ARG.at))
return {REPLY.OK}
