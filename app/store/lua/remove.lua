#!lua flags=allow-oom
-- Forget a token.
-- KEYS[1]  the record
-- KEYS[2]  the window
-- KEYS[3]  the usage
-- Returns  1, or 0 if the record was gone already
-- One script, so that no crash leaves part of a token. It takes no memory: a full Redis lets it pass. The word of
-- its end is not in KEYS for the reason in take.lua.

local existed = redis.call('DEL', KEYS[1])
redis.call('DEL', KEYS[2], KEYS[3])
redis.pcall('DEL', '{' .. KEYS[1] .. '}:ended')
return existed
