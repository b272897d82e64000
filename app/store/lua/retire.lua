#!lua flags=allow-oom
-- Delete the redirect that a rotation left under the old digest, remember when, and write the audit entry.
-- KEYS[1]  the record
-- ARGV[1]  how long the expiry marker lives, in milliseconds; then what trail.lua takes
-- Returns  what trail.lua returns, or 0 if there is none
-- Atomic, so that a record that is no redirect is never deleted, nor the redirect of a move to another pepper: the
-- secret of that one is not replaced, and its redirect has no expiry marker that says so. It allocates no memory, so a
-- full Redis may run it. The expiry marker is not in KEYS for the reason given in take.lua.

local marker = '{' .. KEYS[1] .. '}:ended'
local remembered = redis.pcall('GET', marker)
local ending = type(remembered) == 'string' and remembered:match('^[^\n]*\n([^\n]*)')
if ending ~= 'replaced' or redis.call('HEXISTS', KEYS[1], 'moved_to') == 0 then
  return 0
end
local noted = note({ { 'sha256', KEYS[1]:sub(#'tokens:' + 1), '' } })
redis.pcall('PEXPIRE', marker, ARGV[1])
redis.call('DEL', KEYS[1])
return noted
