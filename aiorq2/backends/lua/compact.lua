--- Take out of a queue what nobody could run: ids without a job, and repetitions. One slice of at most `limit` ids, from `offset` on;
--- `next` is where the following one begins, -1 after the last.
--- ARGV: queue offset limit
--- REPLY: OK removed next

local key, first, limit = K.queue(ARG.queue), tonumber(ARG.offset), tonumber(ARG.limit)
local ids = redis.call('LRANGE', key, first, first + limit - 1)
local seen, removed = {}, 0
for i, id in ipairs(ids) do
  if seen[id] or redis.call('EXISTS', K.job(id)) == 0 then
    redis.call('LSET', key, first + i - 1, '')
    removed = removed + 1
  end
  seen[id] = true
end
if removed > 0 then
  redis.call('LREM', key, 0, '')
end
return {REPLY.OK, removed, #ids == limit and first + limit - removed or -1}
