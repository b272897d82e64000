#!lua
-- Take, keep or give back the turn of whoever changes the managed tokens.
-- KEYS[1]  the turn     string: its owner
-- ARGV[1]  the owner
-- ARGV[2]  take, keep or end
-- ARGV[3]  how long the turn lasts if it is not kept, in milliseconds
-- Returns  1, or 0 if somebody else has the turn, or if it had ended and cannot be kept
-- Atomic, so that no two have the turn, and nobody ends or keeps that of another.

local held = redis.call('TYPE', KEYS[1]).ok
if held ~= 'none' and held ~= 'string' then
  redis.call('DEL', KEYS[1]) -- another program wrote it
  held = 'none'
end
local is_own = held == 'string' and redis.call('GET', KEYS[1]) == ARGV[1]
if ARGV[2] == 'take' and held == 'none' then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
  return 1
end
if not is_own then
  return 0
end
if ARGV[2] == 'end' then
  return redis.call('DEL', KEYS[1])
end
return redis.call('PEXPIRE', KEYS[1], ARGV[3])
