#!lua flags=no-writes,allow-cross-slot-keys
-- Read a few fields of many records.
-- ARGV[1]  the digests, 64 characters each, concatenated. Their records are not in KEYS, because a Cluster requires
--          all KEYS in one slot; here it is enough that one server serves them
-- ARGV[2+] the names of the fields
-- Returns  an error if another server serves a record; else
--          for each record and field "=" and the value, "" if the field is missing, or "-" if the key does not exist,
--          separated by zero bytes. A value longer than 64 KiB, which no token has, is truncated.
-- One script with one reply, because parsing a thousand small replies takes ten times as long. It need not be atomic:
-- the caller expects that a record may change or expire before it is read again.

local fields, found = { unpack(ARGV, 2) }, {}

for at = 1, #ARGV[1], 64 do
  local key, is_there = 'tokens:' .. ARGV[1]:sub(at, at + 63), false
  local record = redis.pcall('HMGET', key, unpack(fields))
  if record.err then
    if not tostring(record.err):find('WRONGTYPE', 1, true) then
      return record -- another server serves the record: its slot is moving
    end
    record, is_there = {}, true
  end
  for i = 1, #fields do
    is_there = is_there or record[i]
  end
  is_there = is_there or redis.call('EXISTS', key) == 1
  for i = 1, #fields do
    local value = record[i]
    if not value then
      found[#found + 1] = is_there and '' or '-'
    else
      value = #value > 65536 and value:sub(1, 65536) or value
      found[#found + 1] = '=' .. (value:find('%z') and value:gsub('%z', ' ') or value)
    end
  end
end

return table.concat(found, '\0')
