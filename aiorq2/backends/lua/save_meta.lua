--- Write the meta of a job that still exists.
--- ARGV: id meta
--- REPLY: OK · GONE

if redis.call('EXISTS', K.job(ARG.id)) == 0 then
  return {REPLY.GONE}
end
redis.call('HSET', K.job(ARG.id), 'meta', ARG.meta)
return {REPLY.OK}
