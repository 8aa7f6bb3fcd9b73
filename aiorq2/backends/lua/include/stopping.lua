--- Have the worker of a running job stop it: mark it, for the worker's next heartbeat, and tell the worker by RQ's own command.

local function have_stopped(job, worker, mark)
  redis.call('HSET', K.job(job), 'aio_cancel', mark)
  redis.call('PUBLISH', K.commands(worker or ''), '{"command": "stop-job", "job_id": "' .. job .. '"}')
end
