--- Look after rate limits: a place whose job is neither queued nor running is given to the next in line (the job has expired, or rq
--- died before it left). At most `limit` places of a few keys, from `cursor` on.
--- ARGV: cursor limit now_iso
--- REPLY: OK freed next_cursor
--- @include rate

local HELD = {[STATUS.queued] = true, [STATUS.started] = true}

local found = redis.call('SSCAN', K.rates(), ARG.cursor, 'COUNT', 10)
local freed = 0
for _, rate in ipairs(found[2]) do
  for _, id in ipairs(redis.call('ZRANGE', K.rate_allowed(rate), 0, ARG.limit - 1)) do
    local status = redis.pcall('HGET', K.job(id), 'status')
    local runs = redis.pcall('ZCOUNT', K.executions(id), string.format('(%.6f', now), '+inf')
    if not HELD[status] and runs == 0 then
      freed = freed + redis.call('ZREM', K.rate_allowed(rate), id)
    end
  end
  admit(rate, ARG.now_iso)
end
return {REPLY.OK, freed, found[1]}
