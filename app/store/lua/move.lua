#!lua
-- Rename the keys of a token to another digest, leave a redirect under the old one for a while, and write the audit
-- entry.
-- KEYS[1]  the record     hash; old name
-- KEYS[2]  the record     new name
-- KEYS[3]  the window     list; old name
-- KEYS[4]  the window     new name
-- KEYS[5]  the usage      string; old name
-- KEYS[6]  the usage      new name
-- ARGV[1]  the digest in the new names
-- ARGV[2]  when the redirect expires, in milliseconds since the epoch, but never later than the token itself;
--          0 leaves no redirect
-- ARGV[3]  the expiry marker that the old name gets, laid out in store/markers.py; "" if its secret is not replaced
-- ARGV[4]  how long it lives after the old name has ended, in milliseconds
-- ARGV[5]  the id of the token
-- ARGV[6+] field, value, field, value: to set in the record; then what trail.lua takes
-- Returns  what trail.lua returns, or 0 if there is nothing to move or the new name is taken
-- Atomic, so that only one of two concurrent moves succeeds, no request finds the token missing, and its window and
-- usage continue without a gap. The expiry marker moves too; markers are not in KEYS for the reason given in take.lua.

if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('HEXISTS', KEYS[1], 'moved_to') == 1 then
  return 0
end
if redis.call('HEXISTS', KEYS[2], 'moved_to') == 1 then
  redis.call('DEL', KEYS[2]) -- a redirect from an earlier move
end
if redis.call('EXISTS', KEYS[2]) == 1 then
  return 0
end

local grace_ends, ends = tonumber(ARGV[2]), redis.call('PEXPIRETIME', KEYS[1])
if ends > 0 then
  grace_ends = math.min(grace_ends, ends)
end
local noted = note({
  { 'sha256', KEYS[1]:sub(#'tokens:' + 1), ARGV[1] },
  { 'grace_ends_at', '', grace_ends > 0 and ('%.0f'):format(grace_ends) or '' },
})

redis.call('HSET', KEYS[1], 'id', unpack(ARGV, 5))
redis.call('RENAME', KEYS[1], KEYS[2])
if redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('RENAME', KEYS[3], KEYS[4])
end
if redis.call('EXISTS', KEYS[5]) == 1 then
  redis.call('RENAME', KEYS[5], KEYS[6])
end

local marker = '{' .. KEYS[2] .. '}:ended'
redis.pcall('DEL', marker)
if redis.pcall('RENAME', '{' .. KEYS[1] .. '}:ended', marker).ok then
  local remembered = redis.pcall('GET', marker)
  local facts = type(remembered) == 'string' and remembered:match('\n.*') or ''
  redis.pcall('SET', marker, ARGV[5] .. facts, 'KEEPTTL')
end

if grace_ends > 0 then
  redis.call('HSET', KEYS[1], 'moved_to', ARGV[1], 'moved_id', ARGV[5])
  redis.call('PEXPIREAT', KEYS[1], grace_ends)
end
if ARGV[3] ~= '' then
  local time = redis.call('TIME')
  local ended = grace_ends > 0 and grace_ends or time[1] * 1000
  redis.pcall('SET', '{' .. KEYS[1] .. '}:ended', ARGV[3], 'PXAT', ('%.0f'):format(ended + ARGV[4]))
end
return noted
