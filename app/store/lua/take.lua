#!lua
-- Read one token's record and take one permit from it.
-- KEYS[1]  the token's record   hash; written by store/tokens.py
-- KEYS[2]  the admitted times   list of microseconds, newest first; written here
-- ARGV[1]  the default limit    requests per window, 0 is unlimited
-- ARGV[2]  the default window   seconds
-- ARGV[3+] patterns that cover the host asked for, each between commas: ",example.com,"
-- Returns  { KEYS[1], "unknown" }
--          { KEYS[1], outcome, id, email, comment }   outcome: "disabled", "wrong_host" or "allowed"
--          { KEYS[1], "limited", id, email, comment, limit, window_s, wait_us }
--          an error if the record's limit can't be read
-- One script, because between reading the times and adding one no other request may read them. KEYS[1] comes back
-- so that the caller can tell its own answer from another's. Without flags in the first line Redis
-- refuses it wherever it could not write, so a replica or a full server never judges by what it last heard.

local record = redis.call('HMGET', KEYS[1], 'hosts', 'id', 'email', 'comment', 'enabled',
  'rate_limit_max', 'rate_limit_window_sec')
local hosts, id, email, comment, enabled = record[1], record[2], record[3], record[4], record[5]

if not (hosts or id or email or comment) then
  return { KEYS[1], 'unknown' }
end

local function outcome(name)
  return { KEYS[1], name, id or '', email or '', comment or '' }
end

if enabled and enabled ~= '1' then
  return outcome('disabled')
end

-- An older deployment stored lists as they were typed: blanks, capitals.
local listed = table.concat({ '', hosts or '', '' }, ',')
if listed:find('[%s%u]') then
  listed = listed:lower():gsub('%s*,%s*', ',')
end
local covered = false
for i = 3, #ARGV do
  if listed:find(ARGV[i], 1, true) then
    covered = true
    break
  end
end
if not covered then
  return outcome('wrong_host')
end

local function whole(text, low)
  local number = #text <= 10 and text:match('^%d+$') and tonumber(text)
  return assert(number and number >= low and number, 'the limit of this token can not be read')
end

local limit = whole(record[6] or ARGV[1], 0)
if limit == 0 then
  return outcome('allowed')
end
local window_s = whole(record[7] or ARGV[2], 1)
local window_us = window_s * 1000000

local time = redis.call('TIME')
local clock = tonumber(time[1]) * 1000000 + tonumber(time[2])
local newest = tonumber(redis.call('LINDEX', KEYS[2], 0) or 0)
if newest > clock + window_us then
  redis.call('DEL', KEYS[2]) -- the clock was set back: one new window rather than a lockout
  newest = 0
end
local now = math.max(clock, newest) -- never back, whatever the clock does

local oldest = redis.call('LINDEX', KEYS[2], limit - 1)
if oldest and oldest + window_us > now then
  return { KEYS[1], 'limited', id or '', email or '', comment or '', limit, window_s, oldest + window_us - clock }
end

-- tostring() would print 14 of the 16 digits.
local admitted = redis.call('LPUSH', KEYS[2], string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[2], window_s * 1000)
if admitted > limit then
  redis.call('LTRIM', KEYS[2], 0, limit - 1)
end
return outcome('allowed')
