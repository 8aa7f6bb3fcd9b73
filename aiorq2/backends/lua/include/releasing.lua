--- Note that those who wait for a job are to be freed later (release.lua): `how` is the status in which it ended.

local function release_later(parent, how)
  if redis.call('EXISTS', K.dependents(parent)) == 1 then
    redis.call('HSET', K.releasing(), parent, how .. ' 0')
    redis.call('PERSIST', K.dependents(parent)) -- not to go with the parent before all of them were asked
  end
end
