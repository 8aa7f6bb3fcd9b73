--- Add jobs that are new, want nothing but to run, and have all but a few fields in common, `shared`; they wait in `lane`. A job is
--- given as `id token created_at data description`. Those of which something is known already are left alone and named, by place (from
--- 0): they are for add.lua, which also knows a job that a lost reply was about. What can be refused is written first, so they are added
--- whole or not at all.
--- ARGV: queue lane shared_count ...rest
--- REPLY: OK known
--- @include wake

local first = ARG.rest + ARG.shared_count
local shared, places, asked = {unpack(ARGV, ARG.rest, first - 1)}, {}, {}
for i = first, #ARGV, 5 do
  local id, at = ARGV[i], #asked
  places[#places + 1] = i
  asked[at + 1], asked[at + 2], asked[at + 3] = K.job(id), K.replay(ARGV[i + 1]), K.dependents(id)
end

local added, ids, known = places, {}, {}
if redis.call('EXISTS', unpack(asked)) > 0 then
  added = {}
  for number, i in ipairs(places) do
    if redis.call('EXISTS', unpack(asked, 3 * number - 2, 3 * number)) > 0 then
      known[#known + 1] = number - 1
    else
      added[#added + 1] = i
    end
  end
end
for number, i in ipairs(added) do
  ids[number] = ARGV[i]
end
if #ids > 0 then
  redis.call('SADD', K.queues(), K.queue(ARG.queue))
  wake(ARG.lane)
  redis.call('RPUSH', K.queue(ARG.lane), unpack(ids))
  for _, i in ipairs(added) do
    redis.call('HSET', K.job(ARGV[i]), 'status', STATUS.queued, 'aio_token', ARGV[i + 1], 'created_at', ARGV[i + 2], 'enqueued_at',
      ARGV[i + 2], 'data', ARGV[i + 3], 'description', ARGV[i + 4], 'origin', ARG.queue, unpack(shared))
  end
end
return {REPLY.OK, known}
