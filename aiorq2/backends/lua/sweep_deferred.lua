--- Ask the parents of some deferred jobs again, at most `limit`, each time of others: rq may have died before it told them, and a
--- parent that expires before it has run tells nobody.
--- ARGV: queue limit now_iso
--- REPLY: OK more
--- @include dependents

local key, limit = K.deferred(ARG.queue), tonumber(ARG.limit)
local count = redis.call('ZCARD', key)
local first = count > limit and math.floor(now * 1000) % count or 0
for _, id in ipairs(redis.call('ZRANGE', key, first, first + limit - 1)) do
  local status = redis.pcall('HGET', K.job(id), 'status')
  if status ~= STATUS.deferred then
    redis.call('ZREM', key, id)
  else
    free(id, nil, nil, ARG.now_iso)
  end
end
return {REPLY.OK, redis.call('EXISTS', K.releasing())}
