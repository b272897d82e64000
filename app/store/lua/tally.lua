#!lua flags=no-writes,allow-cross-slot-keys
-- Read the usage of many tokens.
-- ARGV[1]  the digests, 64 characters each, concatenated. Their usage is not in KEYS for the reason given in glance.lua
-- ARGV[2]  the length of a usage string in bytes; it is laid out in store/usage.py
-- ARGV[3]  the first hour that matters: a usage whose last hour is earlier is left out
-- Returns  an error if another server serves a usage; else { a character for each token, 1 if it has usage and 0 if not,
--          the usage strings of those that have, filled up with zero bytes and concatenated }
-- One script with one reply, and not atomic, for the reasons given in glance.lua.

local length, first, flags, found = tonumber(ARGV[2]), tonumber(ARGV[3]), {}, {}

for at = 1, #ARGV[1], 64 do
  local key = '{tokens:' .. ARGV[1]:sub(at, at + 63) .. '}:usage'
  local head = redis.pcall('GETRANGE', key, 0, 3)
  if type(head) == 'table' and not tostring(head.err):find('WRONGTYPE', 1, true) then
    return head -- another server serves the usage: its slot is moving
  end
  local has_usage = false
  if type(head) == 'string' and #head == 4 then
    local a, b, c, d = head:byte(1, 4)
    has_usage = ((a * 256 + b) * 256 + c) * 256 + d >= first
  end
  if has_usage then
    local usage = redis.call('GETRANGE', key, 0, length - 1)
    found[#found + 1] = usage .. string.rep('\0', length - #usage)
  end
  flags[#flags + 1] = has_usage and '1' or '0'
end

return { table.concat(flags), table.concat(found) }
