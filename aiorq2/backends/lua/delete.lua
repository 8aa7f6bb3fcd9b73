--- Delete a job that is not running, out of every list it is in, with its results. Of those that wait for it, `on_parent_failure`
--- says what becomes; by RQ's rules they go on waiting.
--- `among`: the statuses in which alone it is to be deleted, each between spaces; blank for all in which it can be.
--- ARGV: id token now_iso among
--- REPLY: OK more · GONE · WRONG_STATUS status
--- @include forget dependents

local found = redis.call('HMGET', K.job(ARG.id), 'status', 'origin', 'aio_waiters', 'aio_token', 'rate_limit_key', 'group_id')
local exists = redis.call('EXISTS', K.job(ARG.id)) == 1
if not exists then
  return {redis.call('EXISTS', K.replay(ARG.token)) == 1 and REPLY.OK or REPLY.GONE}
elseif not VERB.delete.from[found[1] or STATUS.created]
  or ARG.among ~= '' and not string.find(ARG.among, ' ' .. (found[1] or STATUS.created) .. ' ', 1, true) then
  return {REPLY.WRONG_STATUS, found[1]}
end
forget(ARG.id, found[2] or '', found[1], found[5], ARG.now_iso)
if found[6] and found[6] ~= '' then
  redis.call('SREM', K.group(found[6]), ARG.id)
end
erase(ARG.id, found[4])
redis.call('SET', K.replay(ARG.token), 1, 'EX', 60)
notify(found[3], ARG.id, 'deleted')
return {REPLY.OK, orphan(ARG.id, found[1], ARG.now_iso)}
