--- Move the jobs of a queue that are due into the queue, at most `limit`.
--- ARGV: queue limit now_iso
--- REPLY: OK moved next_due
--- @include promote

-- Where something else lies under the key of the scheduled jobs, nothing is due.
local moved = promote(ARG.queue, tonumber(ARG.limit))
local first = redis.pcall('ZRANGE', K.scheduled(ARG.queue), 0, 0, 'WITHSCORES')
return {REPLY.OK, moved, first[2] or ''}
