#!lua flags=allow-oom
-- Delete a token.
-- KEYS[1]  the record
-- KEYS[2]  the window
-- KEYS[3]  the usage
-- ARGV[1]  the expiry marker, laid out in store/markers.py
-- ARGV[2]  how long it lives, in milliseconds
-- Returns  1, or 0 if the record did not exist
-- Atomic, so that a crash never leaves part of a token. A full Redis may run it, because it frees about as much memory
-- as it takes. The expiry marker is not in KEYS for the reason given in take.lua; a token without one is deleted too.

local existed = redis.call('DEL', KEYS[1])
redis.call('DEL', KEYS[2], KEYS[3])
if existed == 1 then
  redis.pcall('SET', '{' .. KEYS[1] .. '}:ended', ARGV[1], 'PX', ARGV[2])
end
return existed
