#!lua flags=allow-oom
-- Count a right or a wrong password, unless too many were wrong in the window; then an audit entry says so.
-- KEYS[1]  the wrong ones       list of "microseconds name name ... ", newest first; written here. The names are the
--                               scopes in which it counts, the client first; "+": beyond a limit that others reached
-- KEYS[2]  the known clients    zset; score: second of the last right password; written here
-- KEYS[3]  the beginning of the names of strings; with the client or network that reached its limit after it, one marks
--          that the log has its refusal: an attacker must not fill the log, so there is one entry for each in a window
-- ARGV[1]  1 if the password is right, else 0
-- ARGV[2]  the window           seconds
-- ARGV[3]  the maximum of known clients
-- ARGV[4]  how long they are known  seconds
-- ARGV[5]  how many wrong ones in a window all known clients together may send when others have reached a limit
-- ARGV[6]  the client, then how many wrong ones in a window it may send
--      ... and the same for each network around it, the narrowest first, and for all clients; then what trail.lua takes
-- Returns  { { reached, wait_us }, noted }
--              reached: 0 if the password is accepted or counted; else the number of the limit that refuses it
--              wait_us: until the next attempt
--              noted: what trail.lua returns, or 0
-- One script, because no other attempt may be added between counting the wrong ones and adding one: a thousand
-- passwords sent at once reveal no more than a thousand in sequence. A right one resets nothing, or an attacker who
-- shares its address could go on guessing. It may run when memory is full, because it needs little, in constant amount,
-- and an operator has to log in to delete tokens.

local is_right = ARGV[1] == '1'
local window_us = tonumber(ARGV[2]) * 1000000
local max_known, known_s, max_of_known = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local scopes, limits = {}, {}
for place = 6, #ARGV, 2 do
  table.insert(scopes, ARGV[place])
  table.insert(limits, tonumber(ARGV[place + 1]))
end
local client, all = scopes[1], #scopes

local time = redis.call('TIME')
local second = tonumber(time[1])
local clock = second * 1000000 + tonumber(time[2])

for place, kind in ipairs({ 'list', 'zset' }) do
  local found = redis.call('TYPE', KEYS[place]).ok
  if found ~= kind and found ~= 'none' then
    redis.call('DEL', KEYS[place]) -- another program wrote it: start again rather than lock everyone out
  end
end

local entries = redis.call('LRANGE', KEYS[1], 0, -1)
local newest = entries[1] and tonumber(entries[1]:match('^%d+')) or 0
if newest > clock + window_us then
  redis.call('DEL', KEYS[1]) -- the clock was set back: start again rather than lock everyone out
  entries, newest = {}, 0
end
local now = math.max(clock, newest) -- never before the newest entry, even if the clock was set back

local function ends(place)
  return (tonumber(entries[place]:match('^%d+')) or 0) + window_us
end

local recent, beyond = 0, #entries + 1 -- binary search: parsing every time would take longer than the rest
while beyond - recent > 1 do
  local middle = math.floor((recent + beyond) / 2)
  if ends(middle) > now then
    recent = middle
  else
    beyond = middle
  end
end

local counts, reached, wait_us = {}, 0, 0
local function reach(scope, place)
  reached = reached > 0 and math.min(reached, scope) or scope
  wait_us = math.max(wait_us, ends(place) - clock)
end
for place = 1, recent do
  for scope = all - 1, 1, -1 do
    if not entries[place]:find(' ' .. scopes[scope] .. ' ', 1, true) then
      break
    end
    counts[scope] = (counts[scope] or 0) + 1
    if counts[scope] == limits[scope] then
      reach(scope, place)
    end
  end
end
if recent >= limits[all] then
  reach(all, limits[all])
end

redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', second - known_s)
local function may_still_try()
  if not redis.call('ZSCORE', KEYS[2], client) then
    return false
  end
  local known, of_known = {}, 0
  for _, name in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    known[name] = true
  end
  for place = 1, recent do
    if entries[place]:sub(-2) == '+ ' or known[entries[place]:match(' (%S+)')] then
      of_known = of_known + 1
    end
  end
  return of_known < max_of_known
end
local is_beyond = reached > 1 and may_still_try()
if reached > 0 and not is_beyond then
  local is_first = redis.call('SET', KEYS[3] .. scopes[reached], '1', 'NX', 'PX', window_us / 1000)
  return { { reached, wait_us }, is_first and note({}) or 0 }
end

if is_right then
  redis.call('ZADD', KEYS[2], second, client)
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -max_known - 1)
  redis.call('EXPIRE', KEYS[2], known_s)
else
  local names = table.concat(scopes, ' ', 1, all - 1) .. (is_beyond and ' +' or '')
  redis.call('LPUSH', KEYS[1], string.format('%.0f %s ', now, names))
  redis.call('LTRIM', KEYS[1], 0, recent)
  redis.call('PEXPIRE', KEYS[1], window_us / 1000)
end
return { { 0, 0 }, 0 }
