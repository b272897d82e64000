#!lua flags=allow-oom
-- Delete a token.
-- KEYS[1]  the record
-- KEYS[2]  the window
-- KEYS[3]  the usage
-- Returns  1, or 0 if the record did not exist
-- Atomic, so that a crash never leaves part of a token. It allocates no memory, so a full Redis may run it. The
-- expiry marker is not in KEYS for the reason given in take.lua.

local existed = redis.call('DEL', KEYS[1])
redis.call('DEL', KEYS[2], KEYS[3])
redis.pcall('DEL', '{' .. KEYS[1] .. '}:ended')
return existed
