--- Make a job of a recurring entry: a copy of its template, linked to it both ways.
--- @include forget canceled defer stopping

local LOOK_BACK = 20 -- how many of the latest runs are asked whether they have ended
local MOST_RUNS = 1000

-- Those that have not ended, the newest first; only that one unless `all`.
local function under_way(name, all)
  local found = {}
  for _, id in ipairs(redis.call('ZREVRANGE', K.cron_runs(name), 0, LOOK_BACK - 1)) do
    local job = redis.pcall('HMGET', K.job(id), 'status', 'worker_name', 'origin', 'rate_limit_key')
    if not job.err and job[1] and not STATUS.terminal[job[1]] then
      found[#found + 1] = {id = id, status = job[1], worker = job[2], origin = job[3] or '', rate = job[4]}
      if not all then
        break
      end
    end
  end
  return found
end

-- Of the earlier runs, those that wait are cancelled; those that run are told to stop, and waited for.
local function replace(earlier, iso)
  local stopping = {}
  for _, job in ipairs(earlier) do
    if job.status == STATUS.started then
      have_stopped(job.id, job.worker, redis.call('HGET', K.job(job.id), 'aio_cancel') or 1) -- what a person has said holds
      stopping[#stopping + 1] = job.id
    elseif VERB.cancel.from[job.status] then
      forget(job.id, job.origin, job.status, job.rate, iso)
      end_as_canceled(job.id, job.origin, iso)
    end
  end
  return stopping
end

local function wait_behind(job, queue, earlier)
  redis.call('HSET', K.job(job), 'dependency_id', earlier[1], 'dependency_ids', cjson.encode(earlier),
    'allow_dependency_failures', 1, 'aio_on_parent_failure', 'run')
  defer(job, queue, earlier, 'run')
end

-- An entry remembers its latest runs.
local function forget_runs(name, history)
  local kept = math.max(math.min(seconds(history) or LOOK_BACK, MOST_RUNS), 1)
  redis.call('ZREMRANGEBYRANK', K.cron_runs(name), 0, -1 - kept)
end

-- `template` is the flat hash, `overlap` the policy. Returns whether there is a run: `skip` may have left it out.
local function spawn(name, template, job, token, tick, tick_iso, iso, overlap)
  local key = K.job(job)
  local earlier = overlap ~= 'allow' and under_way(name, overlap == 'replace') or {}
  if #earlier > 0 and overlap == 'skip' then
    return false
  end
  redis.call('HSET', key, unpack(template))
  redis.call('HSET', key, 'status', STATUS.queued, 'aio_token', token, 'created_at', iso, 'enqueued_at', iso, 'aio_tick', tick_iso)
  local has = redis.call('HMGET', key, 'origin', 'ttl', 'enqueue_at_front', 'rate_limit_key')
  local ttl = seconds(has[2])
  if ttl and ttl > 0 then
    redis.call('EXPIRE', key, ttl)
  end
  redis.call('ZADD', K.cron_runs(name), tick, job)
  redis.call('SADD', K.queues(), K.queue(has[1])) -- it may have been deleted
  local behind = overlap == 'queue' and #earlier > 0 and {earlier[1].id} or overlap == 'replace' and replace(earlier, iso) or {}
  if #behind > 0 then
    wait_behind(job, has[1], behind)
  else
    enqueue(job, has[1], has[3] == '1', has[4], iso)
  end
  return true
end
