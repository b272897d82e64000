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
--          { KEYS[1], "expired", id, call }
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
-- The word of an ended token, its id in a string that outlives the record by 30 days, is read if there is no record,
-- and written at the first use. It is not in KEYS: a Cluster would not let a script run while a slot moves of which
-- one key is missing. In a slot like that it is not reached, and its token is as unknown as one that was deleted.

-- Functions get what they use as arguments, and numbers go to Redis as text where they can: each local that a
-- function captures is an allocation, and Redis prints each number with 17 digits.

local function whole(text, low)
  local number = #text <= 12 and text:match('^%d+$') and tonumber(text)
  return assert(number and number >= low and number, 'a number in the record of this token can not be read')
end

-- An older deployment stored lists as they were typed, with blanks and capitals. What is long is neither copied nor
-- searched by a pattern of Lua, which takes a hundred times as long as to look for one text after the other.
local function lists(hosts, first, last)
  local LONG, MANY, LONGEST = 300, 10, 260 -- no pattern is longer than 255
  local is_typed
  if #hosts < LONG then
    local listed = ',' .. hosts .. ','
    for i = first, last do
      if listed:find(ARGV[i], 1, true) then
        return true
      end
    end
    is_typed = hosts:find('[%s%u]')
  else
    for char in ('ABCDEFGHIJKLMNOPQRSTUVWXYZ \t\n\v\f\r'):gmatch('.') do
      is_typed = is_typed or hosts:find(char, 1, true)
    end
  end

  if is_typed or (#hosts >= LONG and last - first >= MANY) then
    local covers, at = {}, 1
    for i = first, last do
      covers[ARGV[i]:sub(2, -2)] = true
    end
    repeat
      local comma = hosts:find(',', at, true) or #hosts + 1
      local pattern = hosts:sub(at, comma - 1)
      if covers[is_typed and pattern:lower():match('^%s*(.*%S)') or pattern] then
        return true
      end
      at = comma + 1
    until at > #hosts
  elseif #hosts >= LONG then
    local head, tail = ',' .. hosts:sub(1, LONGEST), hosts:sub(-LONGEST) .. ','
    for i = first, last do
      local pattern = ARGV[i]
      if hosts:find(pattern, 1, true) or head:find(pattern, 1, true) or tail:find(pattern, 1, true) then
        return true
      end
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
  if not (hosts and lists(hosts, 3, #ARGV - 1)) then
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
local function count(outcome, second, id)
  local HOURS, DAYS, HOURLY, DAILY = 48, 90, 1, 193
  local counter = outcome == 'allowed' and 0 or outcome == 'wrong_host' and 1 or outcome == 'limited' and 2 or 3
  local hour = (second - second % 3600) / 3600
  local day = (hour - hour % 24) / 24
  local in_hour, in_day = '#' .. HOURLY + hour % HOURS * 4 + counter, '#' .. DAILY + day % DAYS * 4 + counter

  local counted = redis.pcall('BITFIELD', KEYS[3], 'OVERFLOW', 'SAT', 'GET', 'u32', '0',
    'INCRBY', 'u32', in_hour, '1', 'INCRBY', 'u32', in_day, '1')
  local last = counted[1]
  if last == hour then
    return
  end
  if not last or last > hour + HOURS then -- no usage at all, or one of the far future: begin anew
    redis.call('DEL', KEYS[3])
    last, counted = 0, { 0, 1, 1 }
  elseif last > hour then
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
    if expires > 0 and expires < 1e15 then -- what is beyond prints as no integer, and ends after everything
      redis.call('PEXPIREAT', KEYS[3], expires)
      redis.pcall('SET', '{' .. KEYS[1] .. '}:ended', id, 'PXAT', expires + 2592000000)
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
  local word = '{' .. KEYS[1] .. '}:ended'
  local ended = redis.pcall('GET', word)
  if type(ended) == 'string' then
    local remembered_ms = redis.call('PTTL', word)
    if remembered_ms >= 0 and remembered_ms <= 2592000000 then -- not deleted by others before its end
      return { KEYS[1], 'expired', ended, call }
    end
  end
  return { KEYS[1], 'unknown', call }
end

id, email, comment = id or '', email or '', comment or ''
assert(#id + #email + #comment + #(hosts or '') <= 65536, 'the record of this token is too long')
local time = redis.call('TIME')
local outcome, limit, window_s, wait_us = judge(hosts, record[5], record[7], record[8], record[9], time)
local second = tonumber(time[1])
count(outcome, second, id)
if outcome == 'limited' then
  return { KEYS[1], outcome, id, email, comment, limit, window_s, wait_us, call }
end

local minute = second - second % 60
if outcome == 'allowed' and tonumber(record[10]) ~= minute then
  redis.call('HSETNX', KEYS[1], 'first_used_at', minute)
  redis.call('HSET', KEYS[1], 'last_used_at', minute)
end
return { KEYS[1], outcome, id, email, comment, call }
