--- Would a job wait for one that waits for it, directly or by way of others? None of them would ever run.
--- @include parents

local FAR = 1000 -- jobs that are asked; a longer way round is not seen

local function waits(found)
  return found[1] == STATUS.deferred or found[1] == STATUS.scheduled and (found[2] or '') == '' and not found[4]
end

-- Returns the parent by way of which it would, or nil.
local function circle(job, parents)
  local line, by = {}, {}
  for i, parent in ipairs(parents) do
    line[i], by[parent] = parent, parent
  end
  for i = 1, FAR do
    local one = line[i]
    if not one or one == job then
      return one and by[one]
    end
    local found = redis.pcall('HMGET', K.job(one), 'status', 'started_at', 'dependency_ids', 'aio_deaths')
    for _, parent in ipairs(not found.err and waits(found) and parents_of(one, found[3]) or {}) do
      if not by[parent] then
        line[#line + 1], by[parent] = parent, by[one]
      end
    end
  end
end
