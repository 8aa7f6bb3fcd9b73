--- Give a key that has none a time to live: that of the job it belongs to, if that has ended, or `ttl` seconds where the job is
--- gone, or there is none.
--- ARGV: key job ttl
--- REPLY: OK given

local key, left = K.prefix .. ':' .. ARG.key, -2
if redis.call('PTTL', key) ~= -1 then
  return {REPLY.OK, 0}
end
if ARG.job ~= '' then
  left = redis.call('PTTL', K.job(ARG.job))
  local status = redis.pcall('HGET', K.job(ARG.job), 'status')
  if left == -1 or left >= 0 and not STATUS.terminal[status or ''] then
    return {REPLY.OK, 0} -- they go together
  end
end
return {REPLY.OK, redis.call('PEXPIRE', key, left >= 0 and left or ARG.ttl * 1000)}
