#!lua flags=no-writes,allow-cross-slot-keys
-- Return the newest entries of the audit log on one server, merged from its streams, as far as a number of reads gets.
-- ARGV[1]  the maximum number of entries to return
-- ARGV[2]  the maximum number of entries to read
-- ARGV[3]  the oldest id to read
-- ARGV[4]  the id and the number of the stream after whose entry the list continues; "+" and 0 for its beginning
-- ARGV[6]  how many conditions follow: the name of a field, and the value that it must have
-- ARGV[7+] the conditions; then for each stream its number and its key. The keys are not in KEYS, because a Cluster
--          requires all KEYS in one slot; here it is enough that one server serves them
-- Returns  { last, { number, id, fields }, ... }: last is { number, id } of the last entry that was read, or { } if all
--          were read. Entries are in descending order of their ids, then of the numbers of their streams
-- It need not be atomic: entries are only added at the end of a stream and removed from its beginning.

local max_found, max_read, oldest, after, after_number = tonumber(ARGV[1]), tonumber(ARGV[2]), unpack(ARGV, 3, 5)
local first_stream = 7 + 2 * ARGV[6]
local CHUNK = 50

local function more(stream, from)
  stream.entries, stream.at = redis.pcall('XREVRANGE', stream.key, from, oldest, 'COUNT', CHUNK), 1
  local failure = stream.entries.err
  if failure and not tostring(failure):find('WRONGTYPE', 1, true) then
    return failure -- another server serves the stream: its slot is moving
  end
end

-- Set the id at which *stream* is, as numbers that can be compared; false at its end.
local function look(stream)
  local entry = stream.entries[stream.at]
  if not entry and stream.at > CHUNK then
    local failure = more(stream, '(' .. stream.id)
    if failure then
      return failure
    end
    entry = stream.entries[1]
  end
  stream.id = entry and entry[1]
  if entry then
    local ms, sequence = stream.id:match('^(%d+)-(%d+)$')
    stream.ms, stream.sequence = tonumber(ms), tonumber(sequence)
  end
end

local streams = {}
for place = first_stream, #ARGV, 2 do
  local stream = { number = tonumber(ARGV[place]), key = ARGV[place + 1] }
  local from = after
  if after ~= '+' and stream.number >= tonumber(after_number) then
    from = '(' .. after
  end
  local failure = more(stream, from) or look(stream)
  if failure then
    return { err = failure }
  end
  if stream.id then
    table.insert(streams, stream)
  end
end

local function is_newer(one, other)
  if one.ms ~= other.ms then
    return one.ms > other.ms
  end
  if one.sequence ~= other.sequence then
    return one.sequence > other.sequence
  end
  return one.number > other.number
end

local function is_wanted(fields)
  local values = {}
  for at = 1, #fields, 2 do
    values[fields[at]] = fields[at + 1]
  end
  for place = 7, first_stream - 1, 2 do
    if values[ARGV[place]] ~= ARGV[place + 1] then
      return false
    end
  end
  return true
end

local found, last = { {} }, {}
for _ = 1, max_read do
  local newest
  for _, stream in ipairs(streams) do
    if stream.id and (not newest or is_newer(stream, newest)) then
      newest = stream
    end
  end
  if not newest then
    return found
  end
  local fields = newest.entries[newest.at][2]
  last = { newest.number, newest.id }
  if is_wanted(fields) then
    table.insert(found, { newest.number, newest.id, fields })
  end
  if #found > max_found then
    break
  end
  newest.at = newest.at + 1
  local failure = look(newest)
  if failure then
    return { err = failure }
  end
end
found[1] = last
return found
