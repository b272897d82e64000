#!lua flags=allow-oom
-- Delete a token, and write the audit entry with what it was.
-- KEYS[1]  the record
-- KEYS[2]  the window
-- KEYS[3]  the usage
-- ARGV[1]  the expiry marker, laid out in store/markers.py
-- ARGV[2]  how long it lives, in milliseconds
-- ARGV[3]  1 to delete any key of that name, which can't be read as a token; 0 to leave a redirect; then what trail.lua
--          takes
-- Returns  what trail.lua returns, or 0 if there was no record, or if the token had moved
-- Atomic, so that a crash never leaves part of a token. A full Redis may run it, because it frees about as much memory
-- as it takes. The expiry marker is not in KEYS for the reason given in take.lua; a token without one is deleted too.

if ARGV[3] == '0' and redis.pcall('HEXISTS', KEYS[1], 'moved_to') == 1 then
  return 0
end
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[2], KEYS[3])
  return 0
end

local ends = redis.call('PEXPIRETIME', KEYS[1])
local differences = {
  { 'sha256', KEYS[1]:sub(#'tokens:' + 1), '' },
  { 'expires_at', ends > 0 and ('%.0f'):format(ends) or '', '' },
}
local values = redis.pcall('HMGET', KEYS[1], unpack(trail.kept))
for at, name in ipairs(trail.kept) do
  table.insert(differences, { name, values[at] or '', '' })
end
local noted = note(differences)

redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.pcall('SET', '{' .. KEYS[1] .. '}:ended', ARGV[1], 'PX', ARGV[2])
return noted
