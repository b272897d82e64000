#!lua
-- Give a token's record another name, and leave word of it at the old one for a while.
-- KEYS[1]  the record     hash; the old name
-- KEYS[2]  the record     the new name
-- KEYS[3]  the window     list; the old name
-- KEYS[4]  the window     the new name
-- KEYS[5]  the usage      string; the old name
-- KEYS[6]  the usage      the new name
-- ARGV[1]  the digest in the new name
-- ARGV[2]  until when the old name leads to the new one, in milliseconds since the epoch, but never beyond the
--          token's own end; 0 is not at all
-- ARGV[3+] field, value, field, value: to be set in the record; "id" among them
-- Returns  1, or 0 if there is nothing to move or the new name is taken
-- One script, so that of two moves at once one wins, no request sees the token missing, and its window and usage
-- go on without a gap. The word of its end, which goes along, is not in KEYS for the reason in take.lua.

if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('HEXISTS', KEYS[1], 'moved_to') == 1 then
  return 0
end
if redis.call('HEXISTS', KEYS[2], 'moved_to') == 1 then
  redis.call('DEL', KEYS[2]) -- it moved away from there before
end
if redis.call('EXISTS', KEYS[2]) == 1 then
  return 0
end

redis.call('HSET', KEYS[1], unpack(ARGV, 3))
redis.call('RENAME', KEYS[1], KEYS[2])
if redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('RENAME', KEYS[3], KEYS[4])
end
if redis.call('EXISTS', KEYS[5]) == 1 then
  redis.call('RENAME', KEYS[5], KEYS[6])
end

local word = '{' .. KEYS[2] .. '}:ended'
if redis.pcall('RENAME', '{' .. KEYS[1] .. '}:ended', word).ok then
  redis.call('SET', word, redis.call('HGET', KEYS[2], 'id'), 'KEEPTTL')
end

local grace_ends, ends = tonumber(ARGV[2]), redis.call('PEXPIRETIME', KEYS[2])
if ends > 0 then
  grace_ends = math.min(grace_ends, ends)
end
if grace_ends > 0 then
  redis.call('HSET', KEYS[1], 'moved_to', ARGV[1])
  redis.call('PEXPIREAT', KEYS[1], grace_ends)
end
return 1
