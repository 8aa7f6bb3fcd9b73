--- Put a job that is in no list back where its status says it waits: a queued one to the front of its queue, from where it was
--- taken; one whose parents are done into its queue. One that is started gets a lease that is over, so that it is reaped by the
--- rules. A scheduled one whose time nobody knows is refused; one that has run before is due now.
--- ARGV: id execution now_iso
--- REPLY: OK placed · GONE · WRONG_STATUS status
--- @include places rate parents defer

local found = redis.pcall('HMGET', K.job(ARG.id), 'status', 'origin', 'rate_limit_key', 'started_at', 'enqueue_at_front',
  'dependency_ids', 'allow_dependency_failures', 'aio_on_parent_failure')
local status, origin, rate = found[1], found[2], found[3] or ''
if found.err or not status or not origin or origin == '' then
  return {REPLY.GONE}
end

local placed = 0
if status == STATUS.queued then
  if not is_in_queue(ARG.id, origin) and not is_leased(ARG.id, origin) then
    push(ARG.id, origin, true)
    redis.call('LREM', K.intermediate(origin), 0, ARG.id)
    redis.call('DEL', K.first_seen(origin, ARG.id))
    placed = 1
  end
elseif status == STATUS.started then
  placed = is_leased(ARG.id, origin) and 0 or redis.call('ZADD', K.wip(origin), now, ARG.id .. ':' .. ARG.execution)
elseif status == STATUS.deferred then
  if not redis.call('ZSCORE', K.deferred(origin), ARG.id) then
    defer(ARG.id, origin, parents_of(ARG.id, found[6]), policy_of(found[7], found[8]))
    placed = 1
  end
elseif status == STATUS.ready_to_enqueue or status == STATUS.rate_limited then
  local waits = redis.call('ZSCORE', K.ready(origin), ARG.id) or rate ~= '' and redis.call('ZSCORE', K.rate_waiting(rate), ARG.id)
  if not waits then
    enqueue(ARG.id, origin, found[5] == '1', rate, ARG.now_iso)
    placed = 1
  end
elseif status == STATUS.scheduled and found[4] and found[4] ~= '' then
  if not redis.call('ZSCORE', K.scheduled(origin), ARG.id) then
    schedule(ARG.id, origin, now)
    placed = 1
  end
else
  return {REPLY.WRONG_STATUS, status}
end
redis.call('SADD', K.queues(), K.queue(origin))
return {REPLY.OK, placed}
