--- In place of `clock` where somebody else's time counts (`connect(clock=…)`): it comes as one more argument, the last.

local now = tonumber(table.remove(ARGV))
