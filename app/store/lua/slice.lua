#!lua flags=no-writes
-- Return a slice of the index, newest first.
-- KEYS[1]  the index      sorted set
-- ARGV[1]  the upper bound, as ZRANGE BYLEX takes it
-- ARGV[2]  the lower bound
-- ARGV[3]  the maximum number of members
-- ARGV[4]  the length of an entry in bytes
-- Returns  { the members of that length concatenated, any other member, ... }
-- One script, because parsing one long reply takes a fraction of the time for hundreds of short ones. It is atomic
-- because it is a single read.

local members = redis.call('ZRANGE', KEYS[1], ARGV[1], ARGV[2], 'BYLEX', 'REV', 'LIMIT', 0, ARGV[3])
local length, entries, reply = tonumber(ARGV[4]), {}, { '' }
for _, member in ipairs(members) do
  local into = #member == length and entries or reply
  into[#into + 1] = member
end
reply[1] = table.concat(entries)
return reply
