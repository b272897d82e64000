#!lua flags=no-writes
-- Find other entries of the index that have the same ids.
-- KEYS[1]  the index      sorted set
-- ARGV[1]  entries, 48 bytes each, concatenated: an id of 16 and a digest of 32
-- Returns  for each of them another entry with its id, or 48 zero bytes, concatenated
-- One script with one reply, for the reason given in glance.lua. It need not be atomic: the caller looks whether there is
-- a record under its digest.

local found = {}

for at = 1, #ARGV[1], 48 do
  local entry, other = ARGV[1]:sub(at, at + 47), ('\0'):rep(48)
  local id = entry:sub(1, 16)
  local namesakes = redis.call('ZRANGE', KEYS[1], '[' .. id, '[' .. id .. ('\255'):rep(33), 'BYLEX', 'LIMIT', '0', '3')
  for _, namesake in ipairs(namesakes) do
    if namesake ~= entry and #namesake == 48 then
      other = namesake
    end
  end
  found[#found + 1] = other
end

return table.concat(found)
