#!lua flags=no-writes,allow-cross-slot-keys
-- Read a few fields of many records.
-- ARGV[1]  the digests, 64 characters each, one behind the other; their records are not in KEYS, since a Cluster
--          would have them all in one slot, where it is enough that one server holds them
-- ARGV[2+] the fields
-- Returns  an error if a record is on another server; else
--          for every record and field "=" and the value, or "" if it is not there; a zero byte between any two
-- One script and one reply, because parsing a thousand small replies takes ten times as long as this. Nothing
-- has to be atomic: who calls knows that a record may change or go before it is read again.

local fields, found = { unpack(ARGV, 2) }, {}

for at = 1, #ARGV[1], 64 do
  local record = redis.pcall('HMGET', 'tokens:' .. ARGV[1]:sub(at, at + 63), unpack(fields))
  if record.err and not tostring(record.err):find('WRONGTYPE', 1, true) then
    return record -- the record is elsewhere: its slot is moving
  end
  for i = 1, #fields do
    local value = record[i] -- nothing, if the key holds something else
    if not value then
      found[#found + 1] = ''
    elseif value:find('%z') then
      found[#found + 1] = '=' .. value:gsub('%z', ' ')
    else
      found[#found + 1] = '=' .. value
    end
  end
end

return table.concat(found, '\0')
