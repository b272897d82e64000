#!lua flags=no-writes
-- Return a slice of the index in the order of a score, and of the members among those with the same score.
-- KEYS[1]  the members of the index that have one  sorted set
-- ARGV[1]  1 to begin with the highest score, 0 with the lowest
-- ARGV[2]  the score at which the slice begins
-- ARGV[3]  the member at which it begins; it may have been dropped
-- ARGV[4]  the maximum number of members
-- ARGV[5]  the length of an entry in bytes
-- Returns  { the members of that length concatenated, their scores separated by spaces, any other member, ... }
-- Atomic, because a rank that is found must still hold when the members are read. Millions of members may have the same
-- score, so the place among them is found by a binary search.

local descending, score, entry, length = ARGV[1] == '1', ARGV[2], ARGV[3], tonumber(ARGV[5])

-- The comparison of Lua itself follows the locale of the server.
local function is_less(one, other)
  for i = 1, math.min(#one, #other) do
    if one:byte(i) ~= other:byte(i) then
      return one:byte(i) < other:byte(i)
    end
  end
  return #one < #other
end

local function count_lower()
  local low = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. score)
  local high = low + redis.call('ZCOUNT', KEYS[1], score, score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local member = redis.call('ZRANGE', KEYS[1], middle, middle)[1]
    if is_less(member, entry) or (descending and member == entry) then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

local first, members = count_lower(), nil
if descending then
  first = redis.call('ZCARD', KEYS[1]) - first
  members = redis.call('ZRANGE', KEYS[1], first, first + ARGV[4] - 1, 'REV', 'WITHSCORES')
else
  members = redis.call('ZRANGE', KEYS[1], first, first + ARGV[4] - 1, 'WITHSCORES')
end

local entries, scores, reply = {}, {}, { '', '' }
for i = 1, #members, 2 do
  if #members[i] == length then
    entries[#entries + 1], scores[#scores + 1] = members[i], members[i + 1]
  else
    reply[#reply + 1] = members[i]
  end
end
reply[1], reply[2] = table.concat(entries), table.concat(scores, ' ')
return reply
