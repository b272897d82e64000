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

-- Functions get what they use as arguments, and numbers go to Redis as text where they can: each local that a
-- function captures is an allocation, and Redis prints each number with 17 digits.

local function whole(text, low)
  local number = #text <= 12 and text:match('^%d+$') and tonumber(text)
  return assert(number and number >= low and number, 'a number in the record of this token can not be read')
end

local function lists(hosts, first, last)
  for i = first, last do
    if hosts:find(ARGV[i], 1, true) then
      return true
    end
  end
end

-- Returns the outcome, for "limited" also the limit, the window and the time to wait.
local function judge(hosts, enabled, own_limit, own_window_s, not_before, time)
  local second = tonumber(time[1])
  if enabled and enabled ~= '1' then
    return 'disabled'
  end
  if not_before and second < whole(not_before, 0) then
    return 'not_yet'
  end

  -- An older deployment stored lists as they were typed: blanks, capitals.
  local listed, first, last = ',' .. (hosts or '') .. ',', 3, #ARGV - 1
  if not (lists(listed, first, last) or lists(listed:lower():gsub('%s*,%s*', ','), first, last)) then
    return 'wrong_host'
  end

  local limit = own_limit and whole(own_limit, 0) or tonumber(ARGV[1])
  if limit == 0 then
    return 'allowed'
  end
  local window_s = own_window_s and whole(own_window_s, 1) or tonumber(ARGV[2])
  local window_us = window_s * 1000000
  local clock = second * 1000000 + time[2]
  local newest = redis.call('LINDEX', KEYS[2], '0')
  if newest and newest - window_us > clock then
    redis.call('DEL', KEYS[2]) -- the clock was set back: one new window rather than a lockout
    newest = nil
  end
  local now = math.max(clock, newest or 0) -- never back, whatever the clock does

  local oldest = redis.call('LINDEX', KEYS[2], limit - 1)
  if oldest and oldest + window_us > now then
    return 'limited', limit, window_s, oldest + window_us - clock
  end

  local stamp = now == clock and time[1] .. ('00000' .. time[2]):sub(-6) or newest
  local admitted = redis.call('LPUSH', KEYS[2], stamp)
  redis.call('PEXPIRE', KEYS[2], window_s * 1000)
  if admitted > limit then
    redis.call('LTRIM', KEYS[2], '0', limit - 1)
  end
  return 'allowed'
end

-- The usage is two rings of counters, four a slot: 48 hours and 90 days, behind the hour of the last use.
local function count(outcome, second)
  local HOURS, DAYS, HOURLY, DAILY = 48, 90, 1, 193
  local counter = outcome == 'allowed' and 0 or outcome == 'wrong_host' and 1 or outcome == 'limited' and 2 or 3
  local hour = (second - second % 3600) / 3600
  local day = (hour - hour % 24) / 24
  local in_hour, in_day = '#' .. HOURLY + hour % HOURS * 4 + counter, '#' .. DAILY + day % DAYS * 4 + counter
  local counted = redis.call('BITFIELD', KEYS[3], 'OVERFLOW', 'SAT', 'GET', 'u32', '0',
    'INCRBY', 'u32', in_hour, '1', 'INCRBY', 'u32', in_day, '1')
  local last = counted[1]
  if last >= hour then
    return
  end

  local function clear(first, newest, slots, at)
    for period = math.max(first, newest - slots + 1), newest do
      redis.call('SETRANGE', KEYS[3], (at + period % slots * 4) * 4, string.rep('\0', 16))
    end
  end
  local last_day = math.floor(last / 24)
  if last > 0 then
    clear(last + 1, hour, HOURS, HOURLY)
    clear(last_day + 1, day, DAYS, DAILY)
  end
  redis.call('BITFIELD', KEYS[3], 'SET', 'u32', 0, hour, 'SET', 'u32', in_hour, 1,
    'SET', 'u32', in_day, last_day < day and 1 or counted[3])
  if last == 0 then
    local expires = redis.call('PEXPIRETIME', KEYS[1])
    if expires > 0 then
      redis.call('PEXPIREAT', KEYS[3], expires)
    end
  end
end

local record = redis.call('HMGET', KEYS[1], 'hosts', 'id', 'email', 'comment', 'enabled', 'moved_to',
  'rate_limit_max', 'rate_limit_window_sec', 'not_before', 'last_used_at')
local hosts, id, email, comment, moved_to, call = record[1], record[2], record[3], record[4], record[6], ARGV[#ARGV]
if moved_to then
  return { KEYS[1], 'moved', moved_to, call }
end
if not (hosts or id or email or comment) then
  return { KEYS[1], 'unknown', call }
end

local time = redis.call('TIME')
local outcome, limit, window_s, wait_us = judge(hosts, record[5], record[7], record[8], record[9], time)
local second = tonumber(time[1])
count(outcome, second)
if outcome == 'limited' then
  return { KEYS[1], outcome, id or '', email or '', comment or '', limit, window_s, wait_us, call }
end

local minute = second - second % 60
if outcome == 'allowed' and tonumber(record[10]) ~= minute then
  redis.call('HSETNX', KEYS[1], 'first_used_at', minute)
  redis.call('HSET', KEYS[1], 'last_used_at', minute)
end
return { KEYS[1], outcome, id or '', email or '', comment or '', call }
