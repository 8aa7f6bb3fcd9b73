--- Redis' own time: leases and due times are judged by no other clock.

local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1e6
