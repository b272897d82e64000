#!lua
-- Note a bad token of one client, unless there were too many lately.
-- KEYS[1]  the client's bad ones  list of microseconds, newest first; written here
-- KEYS[2]  the clients            zset; score: second when the list of that client is gone; written here
-- ARGV[1]  the client
-- ARGV[2]  how many a window may have
-- ARGV[3]  the window             seconds
-- ARGV[4]  how many clients are kept; the bad tokens of further ones are not counted
-- Returns  { is_refused, wait_us }
--              is_refused: 1 if there were too many before this one, else 0
--              wait_us: until the client may send another one; 0 if it may now
-- One script, because between reading the times and adding one no other request may read them.

local most, window_s, most_clients = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local window_us = window_s * 1000000

local time = redis.call('TIME')
local second = tonumber(time[1])
local clock = second * 1000000 + tonumber(time[2])

local newest = tonumber(redis.call('LINDEX', KEYS[1], 0) or 0)
if newest > clock + window_us then
  redis.call('DEL', KEYS[1]) -- the clock was set back: begin anew rather than lock out
  newest = 0
end
local now = math.max(clock, newest) -- never back, whatever the clock does

local function wait()
  local oldest = redis.call('LINDEX', KEYS[1], most - 1)
  return oldest and math.max(0, oldest + window_us - clock) or 0
end

local refused = redis.call('LINDEX', KEYS[1], most - 1)
if refused and refused + window_us > now then
  return { 1, wait() }
end

redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', second)
if redis.call('EXISTS', KEYS[1]) == 0 and redis.call('ZCARD', KEYS[2]) >= most_clients then
  return { 0, 0 }
end
redis.call('LPUSH', KEYS[1], string.format('%.0f', now))
redis.call('LTRIM', KEYS[1], 0, most - 1)
redis.call('PEXPIRE', KEYS[1], window_us / 1000)
redis.call('ZADD', KEYS[2], second + window_s, ARGV[1])
redis.call('EXPIRE', KEYS[2], window_s + 1)
return { 0, wait() }
