#!lua
-- Store the claim of an idempotency key.
-- KEYS[1]  the claim     string, laid out in store/claims.py
-- ARGV[1]  the claim that it replaces; "" is none
-- ARGV[2]  the new claim
-- ARGV[3]  how long it lives, in seconds
-- Returns  1, or 0 if another claim is there
-- Atomic, because of two requests with the same key only one may replace what both have read.

if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
