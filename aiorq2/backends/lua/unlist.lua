--- Take the ids of jobs that have ended out of a queue; their data stays. rq would run them again.
--- ARGV: queue ...ids
--- REPLY: OK removed

local removed = 0
for i = ARG.ids, #ARGV do
  if STATUS.terminal[redis.pcall('HGET', K.job(ARGV[i]), 'status') or ''] then
    removed = removed + redis.call('LREM', K.queue(ARG.queue), 0, ARGV[i])
  end
end
return {REPLY.OK, removed}
