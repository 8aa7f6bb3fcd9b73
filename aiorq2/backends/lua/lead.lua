--- Take or keep the lead among the schedulers of the same queues (`group`), for `lead_ms`: the others need not wake for what is due.
--- It is for economy only: what they do may be done by several at once. With `lead_ms` 0 it is given up.
--- ARGV: group instance lead_ms
--- REPLY: OK leads

local key, lead_ms = K.lead(ARG.group), tonumber(ARG.lead_ms)
local holder = redis.call('GET', key)
if holder and holder ~= ARG.instance then
  return {REPLY.OK, 0}
elseif lead_ms == 0 then
  redis.call('DEL', key)
  return {REPLY.OK, 0}
end
redis.call('SET', key, ARG.instance, 'PX', lead_ms)
return {REPLY.OK, 1}
