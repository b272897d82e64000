#!lua
-- Read one token's record, take one permit from it and note the use.
-- KEYS[1]  the token's record   hash; written by store/tokens.py; the times of use are noted here
-- KEYS[2]  the admitted times   list of microseconds, newest first; written here
-- KEYS[3]  the usage            string, laid out in store/usage.py; written here
-- ARGV[1]  the default limit    requests per window, 0 is unlimited
-- ARGV[2]  the default window   seconds
-- ARGV[3+] patterns that cover the host asked for, each between commas: ",example.com,"
-- ARGV[-1] the call             text that no other call on this connection has
-- Returns  { KEYS[1], "unknown", call }
--          { KEYS[1], "moved", digest, call }   the record lives under that digest now
--          { KEYS[1], outcome, id, email, comment, call }
--              outcome: "disabled", "not_yet", "wrong_host" or "allowed"
--          { KEYS[1], "limited", id, email, comment, limit, window_s, wait_us, call }
--          an error if the record can't be read
-- One script, because between reading the times and adding one no other request may read them, and a use may
-- not be noted for a token that was deleted meanwhile. KEYS[1] and the call come back, first and last, so that
-- the caller can tell its own answer, whole, from another's or from parts of two. Without flags in the first
-- line Redis refuses it wherever it could not write, so a replica or a full server never judges by what it last
-- heard.

local record = redis.call('HMGET', KEYS[1], 'hosts', 'id', 'email', 'comment', 'enabled', 'moved_to',
  'rate_limit_max', 'rate_limit_window_sec', 'not_before', 'last_used_at')
local call = ARGV[#ARGV]
local hosts, id, email, comment, enabled = record[1], record[2], record[3], record[4], record[5]

if record[6] then
  return { KEYS[1], 'moved', record[6], call }
end
if not (hosts or id or email or comment) then
  return { KEYS[1], 'unknown', call }
end

local time = redis.call('TIME')
local second = tonumber(time[1])
local clock = second * 1000000 + tonumber(time[2])

-- The usage is two rings of counters, four a slot: 48 hours and 90 days, behind the hour of the last use.
local HOURS, DAYS, HEAD = 48, 90, 1
local hour = (second - second % 3600) / 3600

local function clear(first, last, slots, at)
  for period = math.max(first, last - slots + 1), last do
    redis.call('SETRANGE', KEYS[3], (at + period % slots * 4) * 4, string.rep('\0', 16))
  end
end

local function count(counter)
  local in_hour = HEAD + hour % HOURS * 4 + counter
  local in_day = HEAD + HOURS * 4 + (hour - hour % 24) / 24 % DAYS * 4 + counter
  local counted = redis.call('BITFIELD', KEYS[3], 'OVERFLOW', 'SAT', 'GET', 'u32', 0,
    'INCRBY', 'u32', '#' .. in_hour, 1, 'INCRBY', 'u32', '#' .. in_day, 1)
  local last = counted[1]
  if last >= hour then
    return
  end
  local day, last_day = math.floor(hour / 24), math.floor(last / 24)
  if last > 0 then
    clear(last + 1, hour, HOURS, HEAD)
    clear(last_day + 1, day, DAYS, HEAD + HOURS * 4)
  end
  redis.call('BITFIELD', KEYS[3], 'SET', 'u32', 0, hour, 'SET', 'u32', '#' .. in_hour, 1,
    'SET', 'u32', '#' .. in_day, last_day < day and 1 or counted[3])
  if last == 0 then
    local expires = redis.call('PEXPIRETIME', KEYS[1])
    if expires > 0 then
      redis.call('PEXPIREAT', KEYS[3], expires)
    end
  end
end

local function outcome(name, counter)
  count(counter)
  return { KEYS[1], name, id or '', email or '', comment or '', call }
end

local ALLOWED, WRONG_HOST, LIMITED, INACTIVE = 0, 1, 2, 3

local function whole(text, low)
  local number = #text <= 12 and text:match('^%d+$') and tonumber(text)
  return assert(number and number >= low and number, 'a number in the record of this token can not be read')
end

if enabled and enabled ~= '1' then
  return outcome('disabled', INACTIVE)
end
if record[9] and second < whole(record[9], 0) then
  return outcome('not_yet', INACTIVE)
end

-- An older deployment stored lists as they were typed: blanks, capitals.
local listed = ',' .. (hosts or '') .. ','
if listed:find('[%s%u]') then
  listed = listed:lower():gsub('%s*,%s*', ',')
end
local covered = false
for i = 3, #ARGV - 1 do
  if listed:find(ARGV[i], 1, true) then
    covered = true
    break
  end
end
if not covered then
  return outcome('wrong_host', WRONG_HOST)
end

local limit = record[7] and whole(record[7], 0) or tonumber(ARGV[1])
if limit > 0 then
  local window_s = record[8] and whole(record[8], 1) or tonumber(ARGV[2])
  local window_us = window_s * 1000000
  local newest = tonumber(redis.call('LINDEX', KEYS[2], 0) or 0)
  if newest > clock + window_us then
    redis.call('DEL', KEYS[2]) -- the clock was set back: one new window rather than a lockout
    newest = 0
  end
  local now = math.max(clock, newest) -- never back, whatever the clock does

  local oldest = redis.call('LINDEX', KEYS[2], limit - 1)
  if oldest and oldest + window_us > now then
    count(LIMITED)
    local wait_us = oldest + window_us - clock
    return { KEYS[1], 'limited', id or '', email or '', comment or '', limit, window_s, wait_us, call }
  end

  -- tostring() would print 14 of the 16 digits.
  local admitted = redis.call('LPUSH', KEYS[2], string.format('%.0f', now))
  redis.call('PEXPIRE', KEYS[2], window_s * 1000)
  if admitted > limit then
    redis.call('LTRIM', KEYS[2], 0, limit - 1)
  end
end

local minute = second - second % 60
if tonumber(record[10]) ~= minute then
  redis.call('HSETNX', KEYS[1], 'first_used_at', minute)
  redis.call('HSET', KEYS[1], 'last_used_at', minute)
end
return outcome('allowed', ALLOWED)
