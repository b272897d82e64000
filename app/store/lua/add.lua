#!lua
-- Write the record of a new token.
-- KEYS[1]  the record     hash
-- ARGV[1]  its life, in milliseconds; 0 is for ever
-- ARGV[2+] field, value, field, value
-- Returns  1
-- One script, because a token may not be there without its life for a moment.

redis.call('HSET', KEYS[1], unpack(ARGV, 2))
if ARGV[1] ~= '0' then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return 1
