#!lua
-- Write the record of a new token, its expiry marker and its audit entry.
-- KEYS[1]  the record     hash
-- ARGV[1]  when the token expires, in milliseconds since the epoch; 0 is never
-- ARGV[2]  when the expiry marker expires, in milliseconds since the epoch
-- ARGV[3]  the expiry marker, laid out in store/markers.py
-- ARGV[4+] field, value, field, value; then what trail.lua takes
-- Returns  what trail.lua returns, 0 if there is a record or a redirect under that name, or 2 if the voucher is not open
-- Atomic, because a token must never exist without its TTL, and must never replace another one with the same secret.
-- The expiry marker is not in KEYS for the reason given in take.lua. One that an ended token with the same secret has
-- left is replaced.

if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end

if trail and trail.voucher then
  if redis.call('GET', trail.voucher) ~= 'open' then
    return 2
  end
  redis.call('DEL', trail.voucher)
end

local noted = note_new(4)

redis.call('HSET', KEYS[1], unpack(ARGV, 4))
local marker = '{' .. KEYS[1] .. '}:ended'
if ARGV[1] == '0' then
  redis.pcall('DEL', marker)
else
  redis.pcall('SET', marker, ARGV[3], 'PXAT', ARGV[2])
  redis.call('PEXPIREAT', KEYS[1], ARGV[1])
end
return noted
