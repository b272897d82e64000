#!lua flags=allow-oom
-- Delete the redirect that a rotation left under the old digest.
-- KEYS[1]  the record
-- Returns  1, or 0 if there is none
-- Atomic, so that a record that is no redirect is never deleted. It allocates no memory, so a full Redis may run it.

if redis.call('HEXISTS', KEYS[1], 'moved_to') == 0 then
  return 0
end
return redis.call('DEL', KEYS[1])
