#!lua flags=no-writes,allow-cross-slot-keys
-- Read the expiry markers of tokens whose records are missing.
-- ARGV[1]  the digests, 64 characters each, concatenated. Their keys are not in KEYS for the reason given in glance.lua
-- Returns  an error if another server serves one of them; else, separated by zero bytes, the time in seconds, and for each
--          digest the expiry of its marker in milliseconds, a space and the marker; or "" if it has a record, or no marker
--          with an expiry. A marker longer than 4 KiB, which no token has, is truncated
-- One script with one reply, for the reason given in glance.lua. It need not be atomic: the caller expects that a token
-- with the same secret may be created before it uses the reply.

local found = { redis.call('TIME')[1] }

for at = 1, #ARGV[1], 64 do
  local key = 'tokens:' .. ARGV[1]:sub(at, at + 63)
  local marker = '{' .. key .. '}:ended'
  local text = redis.call('EXISTS', key) == 0 and redis.pcall('GET', marker)
  local expires = type(text) == 'string' and redis.call('PEXPIRETIME', marker) or 0
  found[#found + 1] = expires > 0 and ('%.0f '):format(expires) .. text:sub(1, 4096):gsub('%z', ' ') or ''
end

return table.concat(found, '\0')
