#!lua flags=no-writes
-- Ask whether this user may run every command of take.lua, without running those that write.
-- KEYS[1]  the record of a token that nobody has
-- KEYS[2]  its admitted times
-- KEYS[3]  its usage; the word of its end is not in KEYS for the reason in take.lua
-- Returns  false, or the error of a command that can't be run
-- One script, because one round trip is what a decision costs too. Redis finds out whether the user may run a
-- command before it refuses it for the flag above. With that flag it runs this where take.lua may not run: to find
-- that out, take.lua is run besides.

local word = '{' .. KEYS[1] .. '}:ended'
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
  GET = redis.pcall('GET', word),
  SET = redis.pcall('SET', word, ''),
  PTTL = redis.pcall('PTTL', word),
  TIME = redis.pcall('TIME'),
}

for name, reply in pairs(replies) do
  local trouble = type(reply) == 'table' and reply.err
  if trouble and not trouble:find('read-only scripts', 1, true) then
    return { err = 'NOPERM ' .. name .. ': ' .. trouble }
  end
end
return false
