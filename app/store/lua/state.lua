#!lua flags=no-writes,allow-cross-slot-keys
-- Read what the states of many tokens depend on.
-- ARGV[1]  the digests, 64 characters each, concatenated. Their records are not in KEYS for the reason given in glance.lua
-- ARGV[2]  the number of fields of which the length matters
-- ARGV[3+] the names of these, then of those whose values matter
-- Returns  an error if another server serves a record; else, separated by zero bytes, for each record its expiry in
--          milliseconds, as PEXPIRETIME returns it; the bytes of the first fields together, "" if it has none of them,
--          or - if its key holds another type; and "=" and each value, or "" if the field is missing. A value longer
--          than 100 bytes, which no valid one is, is truncated.
-- One script with one reply, and not atomic, for the reasons given in glance.lua.

local measured, fields, found = tonumber(ARGV[2]), { unpack(ARGV, 3) }, {}

for at = 1, #ARGV[1], 64 do
  local key, size = 'tokens:' .. ARGV[1]:sub(at, at + 63), ''
  local record = redis.pcall('HMGET', key, unpack(fields))
  if record.err then
    if not tostring(record.err):find('WRONGTYPE', 1, true) then
      return record -- another server serves the record: its slot is moving
    end
    record, size = {}, '-'
  end
  for i = 1, measured do
    if record[i] then
      size = (tonumber(size) or 0) + #record[i]
    end
  end
  found[#found + 1] = ('%.0f'):format(redis.call('PEXPIRETIME', key))
  found[#found + 1] = size
  for i = measured + 1, #fields do
    local value = record[i] and '=' .. record[i]:sub(1, 100) or ''
    found[#found + 1] = value:find('%z') and value:gsub('%z', '?') or value
  end
end

return table.concat(found, '\0')
