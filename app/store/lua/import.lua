#!lua
-- Write what another database held of a token: its record, usage and expiry marker, a redirect, or a marker alone.
-- KEYS[1]  the record     hash
-- KEYS[2]  the usage      string
-- ARGV[1]  when the record expires, in milliseconds since the epoch; 0 is never
-- ARGV[2]  when the expiry marker expires, in milliseconds since the epoch; 0 is no marker
-- ARGV[3]  the expiry marker, laid out in store/markers.py
-- ARGV[4]  the usage, laid out in store/usage.py; "" is none
-- ARGV[5]  1 to write a record although the token was deleted, or its secret replaced; 0 to write nothing then
-- ARGV[6+] field, value, field, value; nothing for a marker alone; then what trail.lua takes
-- Returns  what trail.lua returns, or "taken" if there is a record or a redirect under that name, or "ended" as ARGV[5] says
-- Atomic, because a token must never exist without its TTL or with half of its usage, because an import that was
-- interrupted is repeated, and because it must never undo a change that is made meanwhile. The expiry marker is not in
-- KEYS for the reason given in take.lua.

if redis.call('EXISTS', KEYS[1]) == 1 then
  return 'taken'
end
local marker = '{' .. KEYS[1] .. '}:ended'
local remembered = ARGV[5] == '0' and redis.pcall('GET', marker)
local ending = type(remembered) == 'string' and remembered:match('^[^\n]*\n([^\n]*)')
if ending == 'deleted' or ending == 'replaced' then
  return 'ended'
end

local noted = note_new(6)

redis.pcall('DEL', marker)
redis.call('DEL', KEYS[2])
if ARGV[2] ~= '0' then
  redis.pcall('SET', marker, ARGV[3], 'PXAT', ARGV[2])
end
if #ARGV > 5 then
  redis.call('HSET', KEYS[1], unpack(ARGV, 6))
  if ARGV[4] ~= '' then
    redis.call('SET', KEYS[2], ARGV[4])
  end
  if ARGV[1] ~= '0' then
    redis.call('PEXPIREAT', KEYS[2], ARGV[1])
    redis.call('PEXPIREAT', KEYS[1], ARGV[1])
  end
end
return noted
