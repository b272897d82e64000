#!lua flags=no-writes
-- Return a slice of the index in the order of its members.
-- KEYS[1]  the index                         sorted set
-- KEYS[2]  members that are left out, if any  sorted set
-- ARGV[1]  the bound at which it begins, as ZRANGE BYLEX takes it
-- ARGV[2]  the bound at which it ends
-- ARGV[3]  1 for newest first, 0 for oldest first
-- ARGV[4]  the maximum number of members, those left out included
-- ARGV[5]  the length of an entry in bytes
-- Returns  { the member after the slice or "", the members of that length concatenated, any other member, ... }
-- One script, because parsing one long reply takes a fraction of the time for hundreds of short ones. Atomic, because a
-- member that leaves KEYS[2] in between would be in no slice.

local count, length = tonumber(ARGV[4]), tonumber(ARGV[5])
local command = { 'ZRANGE', KEYS[1], ARGV[1], ARGV[2], 'BYLEX', 'LIMIT', 0, count + 1 }
if ARGV[3] == '1' then
  table.insert(command, 6, 'REV')
end
local members = redis.call(unpack(command))
local left_out = KEYS[2] and #members > 0 and redis.call('ZMSCORE', KEYS[2], unpack(members)) or {}
local entries, reply = {}, { members[count + 1] or '', '' }
for i, member in ipairs(members) do
  if #member ~= length then
    reply[#reply + 1] = member
  elseif i <= count and not left_out[i] then
    entries[#entries + 1] = member
  end
end
reply[2] = table.concat(entries)
return reply
