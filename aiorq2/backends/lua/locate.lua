--- Say where a job stands, and change nothing: how often in the queue (2: more than once), whether rq has taken it out without
--- starting it, whether it has a lease.
--- ARGV: id queue
--- REPLY: OK status times taken leased
--- @include places

local status = redis.pcall('HGET', K.job(ARG.id), 'status')
local found = redis.pcall('LPOS', K.queue(ARG.queue), ARG.id, 'COUNT', 2)
local taken = redis.pcall('LPOS', K.intermediate(ARG.queue), ARG.id)
return {REPLY.OK, type(status) == 'string' and status or '', found.err and 0 or #found, taken and 1 or 0,
  is_leased(ARG.id, ARG.queue) and 1 or 0}
