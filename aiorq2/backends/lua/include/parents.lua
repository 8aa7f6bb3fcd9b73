--- What the parents of a job say: `met`, `pending`, or `never` (one ended badly, and the job minds).

local BAD = {[STATUS.failed] = true, [STATUS.stopped] = true, [STATUS.canceled] = true, deleted = true}
local FORGIVEN = {wait = {}, cancel = {}, failure = {[STATUS.failed] = true}, run = BAD}

local function policy_of(allow_failure, on_parent_failure)
  return FORGIVEN[on_parent_failure] and on_parent_failure or (allow_failure == '1' and 'failure' or 'wait')
end

local function parents_of(child, ids)
  local ok, given = pcall(cjson.decode, ids or '')
  if not ok or type(given) ~= 'table' then
    local noted = redis.pcall('SMEMBERS', K.dependencies(child))
    return noted.err and {} or noted
  end
  local parents = {}
  for _, parent in ipairs(given) do
    if type(parent) == 'string' then -- else nobody can have written it who meant a job
      parents[#parents + 1] = parent
    end
  end
  return parents
end

-- A parent that is gone counts as done, as in RQ.
local function is_met(status, policy)
  return type(status) ~= 'string' or status == STATUS.finished or FORGIVEN[policy][status]
end

-- `known` is a parent whose status is `how`, whatever is stored; `gone` says the status of those that are gone, if it matters;
-- `was_met` says whether one that is in a bad status had counted as done. One that is unmet is returned as well. They are asked from
-- the last to the first, since the first are done first; all of them only if `thorough`.
local function judge(parents, policy, known, how, thorough, was_met, gone)
  local unmet
  for i = #parents, 1, -1 do
    local parent = parents[i]
    local status = parent == known and how or redis.pcall('HGET', K.job(parent), 'status') or gone and gone(parent)
    if not is_met(status, policy) and not (BAD[status] and parent ~= known and was_met and was_met(parent)) then
      unmet = parent
      if BAD[status] then
        return 'never', unmet
      elseif not thorough then
        break
      end
    end
  end
  return unmet and 'pending' or 'met', unmet
end
