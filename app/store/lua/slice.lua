#!lua flags=no-writes
-- Cut a slice out of the index, newest first.
-- KEYS[1]  the index      sorted set
-- ARGV[1]  the upper bound, as ZRANGE BYLEX takes it
-- ARGV[2]  the lower bound
-- ARGV[3]  how many members at most
-- ARGV[4]  how long an entry is
-- Returns  { the members of that length, one behind the other, any other member, ... }
-- One script, because one long reply is parsed in a fraction of the time that hundreds of short ones take.

local cut = redis.call('ZRANGE', KEYS[1], ARGV[1], ARGV[2], 'BYLEX', 'REV', 'LIMIT', 0, ARGV[3])
local length, entries, reply = tonumber(ARGV[4]), {}, { '' }
for _, member in ipairs(cut) do
  local into = #member == length and entries or reply
  into[#into + 1] = member
end
reply[1] = table.concat(entries)
return reply
