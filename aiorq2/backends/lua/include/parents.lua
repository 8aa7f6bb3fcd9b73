--- What the parents of a job say: `met`, `pending`, or `never` (one has failed or was cancelled, and the job minds).

local FORGIVEN = {
  wait = {}, cancel = {}, failure = {failed = true}, run = {failed = true, stopped = true, canceled = true},
}

local function policy_of(allow_failure, on_parent_failure)
  return FORGIVEN[on_parent_failure] and on_parent_failure or (allow_failure == '1' and 'failure' or 'wait')
end

-- A parent that is gone counts as done, as in RQ; so does `excluded`. Who does not care why may stop at the first unmet (`quick`).
local function judge(parents, first, last, policy, excluded, quick)
  local pending = false
  for i = first, last do
    local status = redis.pcall('HGET', K.job(parents[i]), 'status')
    if type(status) == 'string' and parents[i] ~= excluded and status ~= STATUS.finished
      and not FORGIVEN[policy][status] then
      if quick then
        return 'pending'
      elseif status == STATUS.failed or status == STATUS.stopped or status == STATUS.canceled then
        return 'never'
      end
      pending = true
    end
  end
  return pending and 'pending' or 'met'
end
