#!lua
-- Write the record of a new token, and the word of its end.
-- KEYS[1]  the record     hash
-- ARGV[1]  its end, in milliseconds since the epoch; 0 is never
-- ARGV[2]  until when the end is remembered, likewise
-- ARGV[3+] field, value, field, value; "id" among them
-- Returns  1
-- One script, because a token may not be there without its end for a moment. The word of its end is not in KEYS for
-- the reason in take.lua.

redis.call('HSET', KEYS[1], unpack(ARGV, 3))
if ARGV[1] ~= '0' then
  redis.pcall('SET', '{' .. KEYS[1] .. '}:ended', redis.call('HGET', KEYS[1], 'id'), 'PXAT', ARGV[2])
  redis.call('PEXPIREAT', KEYS[1], ARGV[1])
end
return 1
