--- Hand out the recurring entries of some queues that are due, at most `limit`, to the one that sees to a queue: for `duty_ms` nobody
--- else is given any of it. `next` is when the first of the others is due. While workers are suspended nothing is.
--- ARGV: instance duty_ms limit ...queues
--- REPLY: OK now next entry…
--- @include clock

local left, first, entries = tonumber(ARG.limit), math.huge, {}
local upto = string.format('%.6f', now)

local function hand_out(queue, name)
  local fields = redis.pcall('HGETALL', K.cron(name))
  local has = {}
  for i = 1, fields.err and 0 or #fields, 2 do
    has[fields[i]] = fields[i + 1]
  end
  if has.state == 'active' and has.queue == queue then
    entries[#entries + 1] = {name, fields}
  else
    redis.call('ZREM', K.crons(queue), name)
  end
end

local function look_at(queue)
  local names = redis.pcall('ZRANGEBYSCORE', K.crons(queue), '-inf', upto, 'LIMIT', 0, left)
  local holder = redis.call('GET', K.ticking(queue))
  if names.err then
    return
  elseif #names == 0 and holder == ARG.instance then
    redis.call('DEL', K.ticking(queue))
  elseif #names > 0 and (not holder or holder == ARG.instance) then
    redis.call('SET', K.ticking(queue), ARG.instance, 'PX', ARG.duty_ms)
    left = left - #names
    for _, name in ipairs(names) do
      hand_out(queue, name)
    end
  end
  local following = redis.call('ZRANGEBYSCORE', K.crons(queue), '(' .. upto, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  first = math.min(first, tonumber(following[2]) or math.huge)
end

for i = ARG.queues, #ARGV do
  if redis.call('EXISTS', K.suspended()) == 0 then
    look_at(ARGV[i])
  end
end
return {REPLY.OK, upto, first < math.huge and string.format('%.6f', first) or '', unpack(entries)}
