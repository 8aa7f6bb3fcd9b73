--- Take members out of a registry whose jobs are gone.
--- ARGV: registry queue ...members
--- REPLY: OK removed

local REGISTRY = {
  started = K.wip, finished = K.finished, failed = K.failed, deferred = K.deferred, scheduled = K.scheduled,
  canceled = K.canceled, ready = K.ready,
}

local key, removed = REGISTRY[ARG.registry](ARG.queue), 0
for i = ARG.members, #ARGV do
  local job = ARG.registry == 'started' and string.match(ARGV[i], '^(.*):[^:]*$') or ARGV[i]
  if redis.call('EXISTS', K.job(job)) == 0 then
    removed = removed + redis.call('ZREM', key, ARGV[i])
  end
end
return {REPLY.OK, removed}
