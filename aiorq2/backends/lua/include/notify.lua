--- Tell the processes that wait for a job how it ended (`aio_waiters`: their inboxes, separated by spaces).

local function notify(waiters, job, status, value)
  for inbox in string.gmatch(waiters or '', '%S+') do
    redis.call('PUBLISH', inbox, job .. ' ' .. status .. '\n' .. (value or ''))
  end
end
