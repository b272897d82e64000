#!lua
-- Read one token's record, decide on a request, take a permit and note the use.
-- KEYS[1]  the token's record    hash; written by store/tokens.py; this script writes the times of use and the count of
--                                the quota: "<first second of the period> <that of the next one> <requests>"
-- KEYS[2]  the admitted times    list of microseconds, newest first; written here
-- KEYS[3]  the usage             string, laid out in store/usage.py; written here
-- ARGV[1]  the default limit     requests per window; 0 is unlimited
-- ARGV[2]  the default window    seconds
-- then, for each restriction of core/restrictions.py, in the order in which they apply:
--          the candidates of which the record must list one, in one string, ",example.com,*.com,*,"; "" if there are
--          none. For paths it is the path of the request, at most 501 characters of it, and for networks the address
--          of the client, if it is IPv6 in 32 hexadecimal digits; both between commas too
-- ARGV[7]  the token's id         only if another record redirected here: what is here may have become another token's;
--                                "" or missing if none did
-- ARGV[8]  "preview"              only to decide and write nothing
-- ARGV[-1] the call              text that differs for each call on a connection
-- Returns  { KEYS[1], verdict, ..., call }; the verdicts are those of core/verdicts.py
--          { KEYS[1], "unknown_token", call }
--          { KEYS[1], "unknown_token", id, "deleted" or "replaced", call } for the log, if that is how it ended
--          { KEYS[1], "expired_token", id, call }
--          { KEYS[1], "rate_limited" or "quota_exceeded", id, email, comment, limit, window_s, wait_us, call }
--          { KEYS[1], the same, id, email, comment, limit, window_s, wait_us, other_limit, other_window_s, call } if
--            the token has both a rate limit and a quota, whose window is its period; if both are used up, the wait is
--            the longer of the two
--          { KEYS[1], any other verdict, id, email, comment, call }
--          { KEYS[1], "moved", digest, id, call } if the record is under that digest now; the id may be ""
--          an error if the record can't be read
-- One script, because no other request may read the times or the count between reading and adding to them, because a
-- request takes from the rate limit and from the quota or from neither, and because no use may be noted for a token that
-- was deleted meanwhile. KEYS[1] comes back first and the call last, so that the caller can tell its own reply from
-- another's or from parts of two. Without flags in the first line, Redis refuses to run it wherever it could not write,
-- so a replica or a full server never decides on stale data.
-- The expiry marker is a string, laid out in store/markers.py, that outlives the record by 30 days: read if there is no
-- record, written at the first use. It is not in KEYS, because a Cluster runs no script while a slot moves and one of
-- the keys is missing. In such a slot the marker can't be reached, and the token is as unknown as a deleted one.

-- Functions get what they use as arguments, and numbers go to Redis as text where they can: each local that a
-- function captures is an allocation, and Redis prints each number with 17 digits.

local function whole(text, low, digits)
  local number = #text <= (digits or 12) and text:match('^%d+$') and tonumber(text)
  return assert(number and number >= low and number, 'a number in the record of this token cannot be read')
end

-- Returns whether an item of the list is among the candidates. An older deployment stored hosts as they were typed,
-- with blanks and capitals. A long list is neither copied nor searched with a Lua pattern, which takes a hundred times
-- as long as searching for one candidate after another.
local function lists(list, candidates, ignores_case)
  local LONG, MANY, LONGEST = 300, 10, 260 -- no candidate is longer than 255
  if #list < LONG then
    local joined = ',' .. list .. ','
    if candidates:find(joined, 1, true) or (#candidates > 2 and joined:find(candidates, 1, true)) then
      return true
    end
    for item in list:gmatch('[^,]+') do
      if candidates:find(',' .. item .. ',', 1, true) then
        return true
      end
    end
    if list:find(ignores_case and '[%s%u]' or '%s') then
      for item in list:gmatch('[^,%s][^,]*') do
        item = item:match('^(.*%S)')
        if candidates:find(',' .. (ignores_case and item:lower() or item) .. ',', 1, true) then
          return true
        end
      end
    end
    return false
  end

  local wanted, count, is_typed = {}, 0
  for candidate in candidates:gmatch('[^,]+') do
    wanted[candidate], count = true, count + 1
  end
  for char in (ignores_case and 'ABCDEFGHIJKLMNOPQRSTUVWXYZ \t\n\v\f\r' or ' \t\n\v\f\r'):gmatch('.') do
    is_typed = is_typed or list:find(char, 1, true)
  end
  if is_typed or count >= MANY then
    local at = 1
    repeat
      local comma = list:find(',', at, true) or #list + 1
      local item = list:sub(at, comma - 1)
      item = is_typed and item:match('^%s*(.*%S)') or item
      if wanted[is_typed and ignores_case and item:lower() or item] then
        return true
      end
      at = comma + 1
    until at > #list
    return false
  end

  local head, tail = ',' .. list:sub(1, LONGEST), list:sub(-LONGEST) .. ','
  for candidate in pairs(wanted) do
    local text = ',' .. candidate .. ','
    if list:find(text, 1, true) or head:find(text, 1, true) or tail:find(text, 1, true) then
      return true
    end
  end
end

-- Returns the item at a position of the list, without blanks around it, and the position of the next one.
local function item_at(list, at)
  local SPACE = 32
  local comma = list:find(',', at, true) or #list + 1
  local item = list:sub(at, comma - 1)
  if (item:byte() or 0) <= SPACE or item:byte(-1) <= SPACE then
    item = (item:match('%S.*') or ''):match('.*%S') or ''
  end
  return item, comma + 1
end

-- Returns whether an item of the list is the path that was sent between two commas, or ends in "/*" and has it below.
-- What no operator can write matches nothing, in particular an item so long that the path may have been cut within it.
local function covers(list, sent)
  local LONGEST = 500
  local path, at, item = sent:sub(2, -2), 1
  while path ~= '' and at <= #list do
    item, at = item_at(list, at)
    local fixed = item:sub(-2) == '/*' and item:sub(1, -2) or item
    local is_met = item == path or (fixed ~= item and path:sub(1, #fixed) == fixed)
    if is_met and fixed:sub(1, 1) == '/' and #item <= LONGEST and not fixed:find('*', 1, true) then
      return true
    end
  end
  return false
end

-- Returns whether an item of the list is an IPv4 address, or a network around it in canonical form. That is the network
-- of its size around the address; its first octet is compared first, because it is cheaper to compute nothing.
local function contains_ipv4(list, address)
  local a, b, c, d = address:match('^(%d+)%.(%d+)%.(%d+)%.(%d+)$')
  local head, at, item = a .. '.', 1
  while at <= #list do
    item, at = item_at(list, at)
    local slash = item:find('/', 1, true)
    local bits = slash and tonumber(item:sub(slash + 1))
    if item == address then
      return true
    elseif bits and bits >= 0 and bits <= 32 and (bits < 8 or item:sub(1, #head) == head) then
      local number = ((a * 256 + b) * 256 + c) * 256 + d
      local base = number - number % 2 ^ (32 - bits)
      local low = base % 65536
      local high = (base - low) / 65536
      local network = ('%d.%d.%d.%d/%d'):format((high - high % 256) / 256, high % 256, (low - low % 256) / 256,
        low % 256, bits)
      if item == network then
        return true
      end
    end
  end
  return false
end

-- Returns whether an item of the list is an IPv6 address, sent in 32 hexadecimal digits, or a network around it. A
-- network with bits behind its prefix is none.
local function contains_ipv6(list, address)
  local DIGITS = 32

  local function padded(groups) -- with four digits each; nothing if they are malformed
    if groups == '' or (groups .. ':'):gsub('%x%x?%x?%x?:', '') ~= '' then
      return groups == '' and '' or nil
    end
    return ((groups .. ':'):gsub('(%x+):', function(group) return ('0000'):sub(#group + 1) .. group end))
  end

  local function is_around(item)
    local text, prefix = item:match('^(.*)/(%d+)$')
    local bits = tonumber(prefix or 4 * DIGITS)
    local head, tail = (text or item):match('^(.-)::(.*)$')
    local before, after = padded(head or text or item), padded(tail or '')
    local missing = before and after and DIGITS - #before - #after or -1
    local is_address = missing >= 0 and (missing > 0) == (head ~= nil)
    if not is_address or bits > 4 * DIGITS or (prefix and prefix ~= tostring(bits)) then
      return false
    end
    local base, at = before .. ('0'):rep(missing) .. after, math.floor(bits / 4) + 1
    local own, digit = tonumber(base:sub(at, at), 16) or 0, tonumber(address:sub(at, at), 16) or 0
    return base:sub(1, at - 1) == address:sub(1, at - 1) and own == digit - digit % 2 ^ (4 - bits % 4)
      and not base:find('[^0]', at + 1)
  end

  local at, item = 1
  while at <= #list do
    item, at = item_at(list, at)
    if item:find(':', 1, true) and is_around(item) then
      return true
    end
  end
  return false
end

-- Returns whether an item of the list is the address that was sent between two commas, or a network around it.
local function contains(list, sent)
  local address = sent:sub(2, -2)
  if address:find('.', 1, true) then
    return contains_ipv4(list, address)
  end
  return address ~= '' and contains_ipv6(list, address)
end

-- Returns the first second of the calendar day or month (UTC) of a second, and that of the next one.
local function period_of(period, second)
  local today = (second - second % 86400) / 86400
  if period == 'day' then
    return today * 86400, (today + 1) * 86400
  end

  -- Days are counted in years that begin on March 1, in eras of 400 years (H. Hinnant, days_from_civil): so the leap day
  -- is the last of its year, and all months before it have the same lengths in every year.
  local function first_of_month(day)
    local of_era = (day + 719468) % 146097
    local year = math.floor((of_era - math.floor(of_era / 1460) + math.floor(of_era / 36524)
      - math.floor(of_era / 146096)) / 365)
    local of_year = of_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
    local month = math.floor((5 * of_year + 2) / 153)
    return day - of_year + math.floor((153 * month + 2) / 5)
  end
  local first = first_of_month(today)
  return first * 86400, first_of_month(first + 31) * 86400
end

-- Returns the bounds of the period in which the quota counts now, and how many requests it has admitted. If the clock
-- was set back by less than a period, that is still the period last counted; if by more, counting starts anew.
local function quota_count(period, used, second)
  assert(period == 'day' or period == 'month', 'the period of the quota of this token can not be read')
  if used then
    local starts, ends, admitted = used:match('^(%d+) (%d+) (%d+)$')
    assert(starts, 'the count of the quota of this token can not be read')
    starts, ends, admitted = whole(starts, 0), whole(ends, 0), whole(admitted, 0, 13)
    local length = ends - starts
    if (period == 'day') == (length == 86400) and second >= starts - length and second < ends then
      return starts, ends, admitted
    end
  end
  local starts, ends = period_of(period, second)
  return starts, ends, 0
end

-- Returns the verdict; for a limit that was reached also its figures as in the reply, with 0 for a limit that the token
-- does not have.
local function decide(record, second, time, is_preview)
  local enabled, not_before = record[4], record[8]
  if enabled and enabled ~= '1' then
    return 'disabled_token'
  end
  if not_before and second < whole(not_before, 0) then
    return 'token_not_yet_valid'
  end
  -- Hosts always apply, even if there are none; any other list only if it is not empty.
  local hosts, methods, paths, networks = record[11], record[12], record[13], record[14]
  if not (hosts and lists(hosts, ARGV[3], true)) then
    return 'wrong_host'
  end
  if methods and methods ~= '' and not lists(methods, ARGV[4]) then
    return 'wrong_method'
  end
  if paths and paths ~= '' and not covers(paths, ARGV[5]) then
    return 'wrong_path'
  end
  if networks and networks ~= '' and not contains(networks, ARGV[6]) then
    return 'wrong_network'
  end

  local quota, starts, ends, used = record[10] and whole(record[10], 0, 13) or 0, 0, 0, 0
  if quota > 0 then
    starts, ends, used = quota_count(record[15], record[16], second)
  end

  local own_limit, own_window_s = record[6], record[7]
  local limit, window_s, stamp = own_limit and whole(own_limit, 0) or tonumber(ARGV[1]), 0
  if limit > 0 then
    window_s = own_window_s and whole(own_window_s, 1) or tonumber(ARGV[2])
    local window_us = window_s * 1000000
    local clock = second * 1000000 + time[2]
    local newest = redis.call('LINDEX', KEYS[2], '0')
    if newest and newest - window_us > clock then
      if not is_preview then
        redis.call('DEL', KEYS[2]) -- the clock was set back: one new window rather than a lockout
      end
      newest = nil
    end
    local now = math.max(clock, newest or 0) -- never before the newest entry, even if the clock was set back

    local oldest = newest and redis.call('LINDEX', KEYS[2], limit - 1)
    if oldest and oldest + window_us > now then
      local wait_us = oldest + window_us - clock
      if quota > 0 and used >= quota then -- the quota would refuse the next request
        wait_us = math.max(wait_us, (ends - second) * 1000000 - time[2])
      end
      return 'rate_limited', limit, window_s, wait_us, quota, ends - starts
    end
    stamp = now == clock and time[1] .. ('00000' .. time[2]):sub(-6) or newest
  end

  if quota > 0 and used >= quota then
    return 'quota_exceeded', quota, ends - starts, (ends - second) * 1000000 - time[2], limit, window_s
  end
  if is_preview then
    return 'allowed'
  end
  if quota > 0 then
    redis.call('HSET', KEYS[1], 'quota_used', ('%d %d %d'):format(starts, ends, used + 1))
  end
  if stamp then
    local admitted = redis.call('LPUSH', KEYS[2], stamp)
    redis.call('PEXPIRE', KEYS[2], window_s * 1000)
    if admitted > limit then
      redis.call('LTRIM', KEYS[2], '0', limit - 1)
    end
  end
  return 'allowed'
end

-- The usage is two rings of counters, four a slot: 48 hours and 90 days, behind the hour of the last use. Which
-- verdict adds to which counter is declared in core/usage.py.
local function count(verdict, second, record)
  local HOURS, DAYS, HOURLY, DAILY = 48, 90, 1, 193
  local is_outside = verdict ~= 'allowed' and verdict:sub(1, 6) == 'wrong_'
  local counter = verdict == 'allowed' and 0 or is_outside and 1
    or (verdict == 'rate_limited' or verdict == 'quota_exceeded') and 2 or 3
  local hour = (second - second % 3600) / 3600
  local day = (hour - hour % 24) / 24
  local in_hour, in_day = '#' .. HOURLY + hour % HOURS * 4 + counter, '#' .. DAILY + day % DAYS * 4 + counter

  local counted = redis.pcall('BITFIELD', KEYS[3], 'OVERFLOW', 'SAT', 'GET', 'u32', '0',
    'INCRBY', 'u32', in_hour, '1', 'INCRBY', 'u32', in_day, '1')
  local last = counted[1]
  if last == hour then
    return
  end
  if not last or last > hour + HOURS then -- no usage yet, or a last use in the far future: start again
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
    if expires > 0 and expires < 1e15 then -- Lua prints no larger integer, and the usage need not expire
      redis.call('PEXPIREAT', KEYS[3], expires)
      local function line(text, bytes)
        return text and text:sub(1, bytes + 1):gsub('\n', ' ') or ''
      end
      redis.pcall('SET', '{' .. KEYS[1] .. '}:ended', line(record[1], 16) .. '\nexpired\n' .. line(record[11], 1000)
        .. '\n' .. line(record[2], 254) .. '\n' .. line(record[3], 500), 'PXAT', expires + 2592000000)
    end
  end
end

local record = redis.call('HMGET', KEYS[1], 'id', 'email', 'comment', 'enabled', 'moved_to', 'rate_limit_max',
  'rate_limit_window_sec', 'not_before', 'last_used_at', 'quota_max', 'hosts', 'methods', 'paths', 'networks',
  'quota_period', 'quota_used')
local id, email, comment, moved_to, call = record[1], record[2], record[3], record[5], ARGV[#ARGV]
local expected, is_preview = #ARGV > 7 and ARGV[7] ~= '' and ARGV[7] or nil, #ARGV > 8
if moved_to then
  local owner = redis.call('HMGET', KEYS[1], 'moved_id')[1] or expected or ''
  if expected and owner ~= expected then
    return { KEYS[1], 'unknown_token', call }
  end
  return { KEYS[1], 'moved', moved_to, owner, call }
end
local is_token, length = id or email or comment, 0
for i = 11, 14 do
  if record[i] then
    is_token, length = true, length + #record[i]
  end
end
if not is_token then
  local marker = '{' .. KEYS[1] .. '}:ended'
  local remembered = redis.pcall('GET', marker)
  if type(remembered) == 'string' then
    local ended_id, ending = remembered:match('^([^\n]*)\n?([^\n]*)')
    local is_own = not expected or ended_id == expected
    local remembered_ms = redis.call('PTTL', marker)
    if is_own and remembered_ms >= 0 and remembered_ms <= 2592000000 then -- longer: another program deleted the record
      if ending == 'deleted' or ending == 'replaced' then
        return { KEYS[1], 'unknown_token', ended_id, ending, call }
      end
      return { KEYS[1], 'expired_token', ended_id, call }
    end
  end
  return { KEYS[1], 'unknown_token', call }
end

if expected and id ~= expected then
  return { KEYS[1], 'unknown_token', call }
end
id, email, comment = id or '', email or '', comment or ''
assert(#id + #email + #comment + length <= 65536, 'the record of this token is too long')
local time = redis.call('TIME')
local second = tonumber(time[1])
local verdict, limit, window_s, wait_us, other_limit, other_window_s = decide(record, second, time, is_preview)
if not is_preview then
  count(verdict, second, record)
end
if wait_us then
  if other_limit > 0 then
    return { KEYS[1], verdict, id, email, comment, limit, window_s, wait_us, other_limit, other_window_s, call }
  end
  return { KEYS[1], verdict, id, email, comment, limit, window_s, wait_us, call }
end

local minute = second - second % 60
if verdict == 'allowed' and not is_preview and tonumber(record[9]) ~= minute then
  redis.call('HSETNX', KEYS[1], 'first_used_at', minute)
  redis.call('HSET', KEYS[1], 'last_used_at', minute)
end
return { KEYS[1], verdict, id, email, comment, call }
