#!lua flags=no-writes
-- Count the requests that the rate limit of a token counts now.
-- KEYS[1]  the admitted times    list of microseconds, newest first; take.lua writes it
-- ARGV[1]  the limit
-- ARGV[2]  the window, in seconds
-- Returns  how many of the newest times, at most the limit, are in the window
-- One script, because the times are compared with the clock of the server that wrote them.

local limit, window_us, time = tonumber(ARGV[1]), ARGV[2] * 1000000, redis.call('TIME')
local clock = time[1] * 1000000 + time[2]
local newest = tonumber(redis.call('LINDEX', KEYS[1], '0'))
if not newest or newest - window_us > clock then -- none, no time, or the clock was set back, as in take.lua
  return 0
end

local since = math.max(clock, newest) - window_us
local low, high = 0, limit
while low < high do
  local middle = math.floor((low + high) / 2)
  local at = tonumber(redis.call('LINDEX', KEYS[1], middle))
  if at and at > since then
    low = middle + 1
  else
    high = middle
  end
end
return low
