#!lua
-- Count a bad token of one client, unless there were too many in the window.
-- KEYS[1]  the client's bad tokens    list of microseconds, newest first; written here
-- KEYS[2]  the clients                zset; score: second in which its list expires; written here
-- KEYS[3]  those of further clients   one list like KEYS[1], shared by all of them; written here
-- KEYS[4+] those of the networks around the client, each a list like KEYS[1]; written here
-- ARGV[1]  the client
-- ARGV[2]  the window                 seconds
-- ARGV[3]  how many clients have lists of their own, and their networks
-- ARGV[4+] the limit for a window of KEYS[1] and KEYS[3], of KEYS[4], and so on
-- Returns  { is_refused, wait_us, wait_us of KEYS[4], ... }
--              is_refused: 1 if there were too many before this one, else 0
--              wait_us: until the client, or a client of the network, may send another; 0 if it may now
-- One script, because no other request may read the times between reading them and adding one.

local client, window_s, max_clients = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local window_us = window_s * 1000000

local time = redis.call('TIME')
local second = tonumber(time[1])
local clock = second * 1000000 + tonumber(time[2])
local now = clock

for place, key in ipairs(KEYS) do
  local found = redis.call('TYPE', key).ok
  if found ~= (place == 2 and 'zset' or 'list') and found ~= 'none' then
    redis.call('DEL', key) -- another program wrote it: start again, or every count would fail
  end
end

local function time_at(key, index)
  return tonumber(redis.call('LINDEX', key, index) or 0) or 0
end

redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', second)
local has_room = redis.call('EXISTS', KEYS[1]) == 1 or redis.call('ZCARD', KEYS[2]) < max_clients

local lists, limits = {}, {} -- those that this bad token counts in, the client's first
local function count_in(key, limit)
  table.insert(lists, key)
  limits[key] = tonumber(limit)
  local newest = time_at(key, 0)
  if newest > clock + window_us then
    redis.call('DEL', key) -- the clock was set back: start again rather than lock out
  else
    now = math.max(now, newest) -- never before the newest entry, even if the clock was set back
  end
end

count_in(has_room and KEYS[1] or KEYS[3], ARGV[4])
for place = 4, #KEYS do
  count_in(KEYS[place], ARGV[place + 1])
end

local function waits()
  local found, is_any = {}, 0
  for place, key in ipairs(lists) do
    local oldest = time_at(key, limits[key] - 1)
    local is_full = oldest + window_us > now
    found[place] = is_full and math.max(1, oldest + window_us - clock) or 0
    is_any = is_full and 1 or is_any
  end
  return is_any, found
end

local is_refused, found = waits()
if is_refused == 1 then
  return { 1, unpack(found) }
end

for place, key in ipairs(lists) do
  if place == 1 or has_room or redis.call('EXISTS', key) == 1 then
    redis.call('LPUSH', key, string.format('%.0f', now))
    redis.call('LTRIM', key, 0, limits[key] - 1)
    redis.call('PEXPIRE', key, window_us / 1000)
  end
end
if has_room then
  redis.call('ZADD', KEYS[2], second + window_s, client)
  redis.call('EXPIRE', KEYS[2], window_s + 1)
end
local _, after = waits()
return { 0, unpack(after) }
