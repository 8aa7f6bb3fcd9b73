--- Take jobs that are gone out of a group, about `limit` of its members from `cursor` on, and the group off the list if none is left.
--- ARGV: group cursor limit
--- REPLY: OK removed next_cursor

local key = K.group(ARG.group)
local found = redis.call('SSCAN', key, ARG.cursor, 'COUNT', ARG.limit)
local removed = 0
for _, id in ipairs(found[2]) do
  if redis.call('EXISTS', K.job(id)) == 0 then
    removed = removed + redis.call('SREM', key, id)
  end
end
if redis.call('EXISTS', key) == 0 then
  redis.call('SREM', K.groups(), ARG.group)
end
return {REPLY.OK, removed, found[1]}
