#!lua
-- Change the fields and the expiry of a token that exists, and write the audit entry.
-- KEYS[1]  the record     hash
-- KEYS[2]  the window     list of microseconds; kept, so that the new limit counts requests admitted under the old
--                         one, unless the key holds anything else: then the token starts a new window
-- KEYS[3]  the usage      string; expires with the record
-- ARGV[1]  when the token expires, in milliseconds since the epoch; 0 is never, -1 leaves the expiry unchanged
-- ARGV[2]  when the expiry marker expires, in milliseconds since the epoch
-- ARGV[3]  the expiry marker, laid out in store/markers.py
-- ARGV[4]  the window of the new limit, in milliseconds
-- ARGV[5+] field, value, field, value: an empty value removes the field; then what trail.lua takes
-- Returns  what trail.lua returns; 1 if that is how the token is already; or 0 if the record is missing or has moved,
--          or its key holds another type
-- Atomic, because an edit must not restore a token that was deleted meanwhile, or leave it without its TTL. The
-- expiry marker is not in KEYS for the reason given in take.lua.

if redis.call('TYPE', KEYS[1]).ok ~= 'hash' or redis.call('HEXISTS', KEYS[1], 'moved_to') == 1 then
  return 0
end

local differences = {}
local function differ(name, old, new)
  if old ~= new then
    table.insert(differences, { name, old, new })
  end
end
for i = 5, #ARGV, 2 do
  differ(ARGV[i], redis.call('HGET', KEYS[1], ARGV[i]) or '', ARGV[i + 1])
end
if ARGV[1] ~= '-1' then
  local ends = redis.call('PEXPIRETIME', KEYS[1])
  differ('expires_at', ends > 0 and ('%.0f'):format(ends) or '', ARGV[1] == '0' and '' or ARGV[1])
end
if #differences == 0 then
  return 1
end
local noted = note(differences)

for i = 5, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end

local function is_window()
  local held = redis.call('TYPE', KEYS[2]).ok
  if held ~= 'list' then
    return held == 'none'
  end
  for _, time in ipairs(redis.call('LRANGE', KEYS[2], 0, -1)) do
    if #time > 16 or not time:find('^%d+$') then
      return false
    end
  end
  return true
end
if not is_window() then
  redis.call('DEL', KEYS[2])
elseif redis.call('PTTL', KEYS[2]) < tonumber(ARGV[4]) then
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
end

local marker = '{' .. KEYS[1] .. '}:ended'
if ARGV[1] == '0' then
  redis.call('PERSIST', KEYS[1])
  redis.call('PERSIST', KEYS[3])
  redis.pcall('DEL', marker)
elseif ARGV[1] == '-1' then
  redis.pcall('SET', marker, ARGV[3], 'XX', 'KEEPTTL')
else
  redis.pcall('SET', marker, ARGV[3], 'PXAT', ARGV[2])
  redis.call('PEXPIREAT', KEYS[3], ARGV[1])
  redis.call('PEXPIREAT', KEYS[1], ARGV[1])
end
return noted
