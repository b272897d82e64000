-- Included in every script that makes a change: writes the audit entry of the change.
-- ARGV[#ARGV]  JSON, which is removed from ARGV; "" for a change that no actor makes:
--              key           of the audit log, a stream; not in KEYS for the reason given in take.lua
--              max_entries, max_age_ms  what of the log is kept
--              entry         name, value, name, value: the fields that are known before the change
--              kept          the names of the fields of a record that an entry shows
--              expected      if the change depends on it: names, of fields of the record, and their state with the
--                            expiry, as store/records.py composes it. If it differs, the script returns 2
--              voucher       if add.lua needs one: its key

local trail = table.remove(ARGV)
trail = trail ~= '' and cjson.decode(trail)

if trail and trail.expected then
  local names = trail.expected.names
  local texts = { ('%.0f'):format(redis.call('PEXPIRETIME', KEYS[1])) }
  local values = redis.pcall('HMGET', KEYS[1], unpack(names))
  for at = 1, #names do
    local value = values[at] or ''
    table.insert(texts, #value .. ':' .. value)
  end
  local state = table.concat(texts, ','):gsub('.', function(byte) return ('%02x'):format(byte:byte()) end)
  if state ~= trail.expected.state then
    return 2
  end
end

-- Write the entry of a change with *differences*: { name, old value, new value }, where "" is none. Its fields are
-- "-name" with the old value and "+name" with the new one, each cut after 1024 bytes and one more.
-- Returns what the script returns: the id of the entry and its fields.
local function note(differences)
  if not trail then
    return 1
  end
  local entry, shown = trail.entry, { sha256 = true, expires_at = true, grace_ends_at = true }
  for _, name in ipairs(trail.kept) do
    shown[name] = true
  end
  for _, difference in ipairs(differences) do
    for at, sign in ipairs({ '-', '+' }) do
      local value = shown[difference[1]] and difference[at + 1] or ''
      if value ~= '' then
        table.insert(entry, sign .. difference[1])
        table.insert(entry, value:sub(1, 1025))
      end
    end
  end
  local held = redis.call('TYPE', trail.key).ok
  if held ~= 'stream' and held ~= 'none' then
    redis.call('DEL', trail.key) -- another program wrote it: start a new log rather than refuse every change
  end
  local id = redis.call('XADD', trail.key, 'MAXLEN', trail.max_entries, '*', unpack(entry))
  local oldest = redis.call('TIME')[1] * 1000 - trail.max_age_ms
  redis.call('XTRIM', trail.key, 'MINID', ('%.0f'):format(math.max(oldest, 0)))
  return { id, unpack(entry) }
end

-- Write the entry of a new record with the fields ARGV[first] and following, which expires at ARGV[1], 0 is never.
local function note_new(first)
  local differences = {
    { 'sha256', '', KEYS[1]:sub(#'tokens:' + 1) },
    { 'expires_at', '', ARGV[1] == '0' and '' or ARGV[1] },
  }
  for i = first, #ARGV, 2 do
    table.insert(differences, { ARGV[i], '', ARGV[i + 1] })
  end
  return note(differences)
end
