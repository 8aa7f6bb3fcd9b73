--- Pause, resume or move a recurring entry: give it another state, pending tick and further fields.
--- `revision` is that of the entry the caller has seen; blank for any.
--- ARGV: cron token revision state tick due now_iso ...fields
--- REPLY: OK · GONE · CHANGED · WRONG_STATUS state
--- @include arm

local key = K.cron(ARG.cron)
local found = redis.pcall('HMGET', key, 'revision', 'state', 'queue', 'call')
if found.err or not found[1] then
  return {REPLY.GONE}
elseif found[4] == ARG.token then
  return {REPLY.OK}
elseif found[2] == 'ended' then
  return {REPLY.WRONG_STATUS, found[2]}
elseif ARG.revision ~= '' and found[1] ~= ARG.revision then
  return {REPLY.CHANGED}
end
redis.call('HSET', key, 'state', ARG.state, 'tick', ARG.tick, 'due', ARG.due, 'revision', found[1] + 1, 'call', ARG.token,
  'call_did', '', 'updated_at', ARG.now_iso, unpack(ARGV, ARG.fields))
if ARG.state == 'active' then
  arm(found[3], ARG.cron, tonumber(ARG.due))
else
  redis.call('ZREM', K.crons(found[3]), ARG.cron)
end
return {REPLY.OK}
