#!lua flags=no-writes
-- Return a slice of the index in the order of its members.
-- KEYS[1]  the index      sorted set
-- ARGV[1]  the bound at which it begins, as ZRANGE BYLEX takes it
-- ARGV[2]  the bound at which it ends
-- ARGV[3]  1 for newest first, 0 for oldest first
-- ARGV[4]  the maximum number of members
-- ARGV[5]  the length of an entry in bytes
-- Returns  { the members of that length concatenated, any other member, ... }
-- One script, because parsing one long reply takes a fraction of the time for hundreds of short ones. It is atomic
-- because it is a single read.

local command = { 'ZRANGE', KEYS[1], ARGV[1], ARGV[2], 'BYLEX', 'LIMIT', 0, ARGV[4] }
if ARGV[3] == '1' then
  table.insert(command, 6, 'REV')
end
local length, entries, reply = tonumber(ARGV[5]), {}, { '' }
for _, member in ipairs(redis.call(unpack(command))) do
  local into = #member == length and entries or reply
  into[#into + 1] = member
end
reply[1] = table.concat(entries)
return reply
