#!lua flags=allow-oom
-- Note a right or a wrong password, unless too many were wrong lately.
-- KEYS[1]  the wrong ones       list of "microseconds name name ...", newest first; written here. The names are those
--                               that it counts for, the client first; "+" is that of those below beyond a limit
-- KEYS[2]  the known clients    zset; score: second of the last right password; written here
-- ARGV[1]  1 if the password is right, else 0
-- ARGV[2]  the window           seconds
-- ARGV[3]  how many clients are known at most
-- ARGV[4]  how long             seconds
-- ARGV[5]  how many wrong ones in a window all known clients may send beyond the limits that others reached
-- ARGV[6]  the client, then how many wrong ones in a window it may send
--      ... and the same for each network around it, and for all, named "*"
-- Returns  { reached, wait_us }
--              reached: 0 if the password counts; else, whatever it is, it does not, by the limit so numbered
--              wait_us: until it may count
-- One script, because between counting the wrong ones and adding one nobody may add another: whoever sends a
-- thousand passwords at once learns no more than one who sends them in turn. A right one takes nothing back, or
-- whoever shares its address could guess on. It may run when memory is full, for it needs little and always the
-- same, and somebody has to come in and delete tokens.

local is_right = ARGV[1] == '1'
local window_us = tonumber(ARGV[2]) * 1000000
local most_known, known_s, most_of_known = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local client, scopes, limits = ARGV[6], {}, {}
for place = 6, #ARGV, 2 do
  table.insert(scopes, ARGV[place])
  limits[ARGV[place]] = tonumber(ARGV[place + 1])
end

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

redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', second - known_s)
local known = {}
for _, name in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  known[name] = true
end

local counts, ends = {}, {} -- by name; of those that reached their limit, when it admits one more
local function count(name, at)
  counts[name] = (counts[name] or 0) + 1
  if counts[name] == limits[name] then
    ends[name] = at + window_us
  end
end

local recent, of_known = 0, 0
for _, entry in ipairs(entries) do
  local at, names = entry:match('^(%d+) (.+)$')
  at = tonumber(at)
  if at + window_us <= now then
    break
  end
  recent = recent + 1
  count('*', at)
  local whose = names:match('^%S+')
  for name in names:gmatch('%S+') do
    count(name, at)
  end
  if known[whose] or names:sub(-2) == ' +' then
    of_known = of_known + 1
  end
end

local reached, wait_us = 0, 0
for number, name in ipairs(scopes) do
  if ends[name] then
    reached = reached > 0 and reached or number
    wait_us = math.max(wait_us, ends[name] - clock)
  end
end
local is_beyond = reached > 1 and known[client] and of_known < most_of_known
if reached > 0 and not is_beyond then
  return { reached, wait_us }
end

if is_right then
  redis.call('ZADD', KEYS[2], second, client)
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -most_known - 1)
  redis.call('EXPIRE', KEYS[2], known_s)
else
  local names = table.concat(scopes, ' ', 1, #scopes - 1) .. (is_beyond and ' +' or '')
  redis.call('LPUSH', KEYS[1], string.format('%.0f %s', now, names))
  redis.call('LTRIM', KEYS[1], 0, recent)
  redis.call('PEXPIRE', KEYS[1], window_us / 1000)
end
return { 0, 0 }
