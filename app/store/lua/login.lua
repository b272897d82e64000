#!lua flags=allow-oom
-- Note a right or a wrong password, unless too many were wrong lately.
-- KEYS[1]  the wrong ones       list of "microseconds client", newest first; written here
-- KEYS[2]  the known clients    zset; score: second of the last right password; written here
-- ARGV[1]  the client
-- ARGV[2]  1 if the password is right, else 0
-- ARGV[3]  the window           seconds
-- ARGV[4]  how many wrong ones in a window one client may send
-- ARGV[5]  how many all may send before only known clients may go on
-- ARGV[6]  how many clients are known at most
-- ARGV[7]  how long             seconds
-- Returns  { "heard" }          the password counts
--          { "client", wait_us } or { "all", wait_us }   it does not, whatever it is, by the limit so named
-- One script, because between counting the wrong ones and adding one nobody may add another: whoever sends a
-- thousand passwords at once learns no more than one who sends them in turn. It may run when memory is full, for
-- it needs little and always the same, and somebody has to come in and delete tokens.

local client, is_right = ARGV[1], ARGV[2] == '1'
local window_us = tonumber(ARGV[3]) * 1000000
local most, most_in_all = tonumber(ARGV[4]), tonumber(ARGV[5])
local most_known, known_s = tonumber(ARGV[6]), tonumber(ARGV[7])

local time = redis.call('TIME')
local second = tonumber(time[1])
local clock = second * 1000000 + tonumber(time[2])

local entries = redis.call('LRANGE', KEYS[1], 0, -1)
local newest = tonumber(entries[1] and entries[1]:match('^%d+') or 0)
if newest > clock + window_us then
  redis.call('DEL', KEYS[1]) -- the clock was set back: begin anew rather than lock out
  entries, newest = {}, 0
end
local now = math.max(clock, newest) -- never back, whatever the clock does

local times, own_times, own_entries = {}, {}, {}
for _, entry in ipairs(entries) do
  local at, whose = entry:match('^(%d+) (.+)$')
  at = tonumber(at)
  if at + window_us <= now then
    break
  end
  table.insert(times, at)
  if whose == client then
    table.insert(own_times, at)
    table.insert(own_entries, entry)
  end
end

local function refused(name, nth)
  return { name, nth + window_us - clock }
end

if own_times[most] then
  return refused('client', own_times[most])
end
if times[most_in_all] then
  local last_right = tonumber(redis.call('ZSCORE', KEYS[2], client) or 0)
  if last_right + known_s <= second then
    return refused('all', times[most_in_all])
  end
end

if is_right then
  for _, entry in ipairs(own_entries) do
    redis.call('LREM', KEYS[1], 1, entry)
  end
  redis.call('ZADD', KEYS[2], second, client)
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', second - known_s)
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -most_known - 1)
  redis.call('EXPIRE', KEYS[2], known_s)
else
  redis.call('LPUSH', KEYS[1], string.format('%.0f %s', now, client))
  redis.call('LTRIM', KEYS[1], 0, #times)
  redis.call('PEXPIRE', KEYS[1], window_us / 1000)
end
return { 'heard' }
