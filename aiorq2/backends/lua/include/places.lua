--- Where a job stands, whatever its status says.
--- @include clock

local MANY = 1000

local function is_in_queue(job, queue)
  return redis.pcall('LPOS', K.queue(queue), job) and true or false
end

-- A lease of it, also one that is over and of which nothing but itself is left.
local function is_leased(job, queue)
  local wip = K.wip(queue)
  if redis.pcall('ZSCORE', wip, job) then
    return true -- rq 1 wrote the bare id
  end
  local runs = redis.pcall('ZRANGE', K.executions(job), 0, MANY)
  for _, execution in ipairs(runs.err and {} or runs) do
    if redis.pcall('ZSCORE', wip, job .. ':' .. execution) then
      return true
    end
  end
  local over = redis.pcall('ZRANGEBYSCORE', wip, '-inf', string.format('%.6f', now), 'LIMIT', 0, MANY)
  for _, member in ipairs(over.err and {} or over) do
    if string.match(member, '^(.*):[^:]*$') == job then
      return true
    end
  end
  return false
end
