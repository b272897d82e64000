#!lua flags=no-writes
-- Check whether the user may run every command of take.lua, without running those that write.
-- KEYS[1]  the record of a token that does not exist
-- KEYS[2]  its admitted times
-- KEYS[3]  its usage; the expiry marker is not in KEYS for the reason given in take.lua
-- Returns  false, or the error of a command that the user may not run
-- One script, because one round trip is what a decision costs too. Redis checks the rights to a command before it
-- refuses the command for the flag above. With that flag, Redis runs this script where it would not run take.lua: to
-- detect that, take.lua is run as well.

local marker = '{' .. KEYS[1] .. '}:ended'
local replies = {
  HMGET = redis.pcall('HMGET', KEYS[1], 'hosts'),
  HSET = redis.pcall('HSET', KEYS[1], 'last_used_at', '0'),
  HSETNX = redis.pcall('HSETNX', KEYS[1], 'first_used_at', '0'),
  PEXPIRETIME = redis.pcall('PEXPIRETIME', KEYS[1]),
  LINDEX = redis.pcall('LINDEX', KEYS[2], '0'),
  LPUSH = redis.pcall('LPUSH', KEYS[2], '0'),
  LTRIM = redis.pcall('LTRIM', KEYS[2], '0', '0'),
  PEXPIRE = redis.pcall('PEXPIRE', KEYS[2], '1'),
  DEL = redis.pcall('DEL', KEYS[2]),
  BITFIELD = redis.pcall('BITFIELD', KEYS[3], 'SET', 'u32', '0', '0'),
  SETRANGE = redis.pcall('SETRANGE', KEYS[3], '0', '0'),
  PEXPIREAT = redis.pcall('PEXPIREAT', KEYS[3], '1'),
  DEL_usage = redis.pcall('DEL', KEYS[3]),
  GET = redis.pcall('GET', marker),
  SET = redis.pcall('SET', marker, ''),
  PTTL = redis.pcall('PTTL', marker),
  TIME = redis.pcall('TIME'),
}

for name, reply in pairs(replies) do
  local denial = type(reply) == 'table' and reply.err
  if denial and not denial:find('read-only scripts', 1, true) then
    return { err = 'NOPERM ' .. name .. ': ' .. denial }
  end
end
return false
