#!lua
-- Change fields and the life of a token that is there.
-- KEYS[1]  the record     hash
-- KEYS[2]  the window     list of microseconds; kept, so that the new limit judges what was admitted under the old
-- KEYS[3]  the usage      string; lives as long as the record
-- ARGV[1]  the life from now on, in milliseconds; 0 is for ever, -1 as it was
-- ARGV[2]  the window of the new limit, in milliseconds
-- ARGV[3+] field, value, field, value: an empty value removes the field
-- Returns  1, or 0 if the record is gone or moved
-- One script, because an edit may not bring a token back that was deleted meanwhile, or leave it without its life.

if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('HEXISTS', KEYS[1], 'moved_to') == 1 then
  return 0
end

for i = 3, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end

local life_ms = tonumber(ARGV[1])
if life_ms == 0 then
  redis.call('PERSIST', KEYS[1])
  redis.call('PERSIST', KEYS[3])
elseif life_ms > 0 then
  redis.call('PEXPIRE', KEYS[1], life_ms)
  redis.call('PEXPIRE', KEYS[3], life_ms)
end
if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
return 1
