#!lua
-- Add entries to the index unless they exist.
-- KEYS[1]  the index      sorted set; written here, as the others
-- KEYS[2]  its members by expiry    sorted set
-- KEYS[3]  its members by last use  sorted set
-- ARGV[1]  the entries, 48 bytes each, concatenated
-- ARGV[2]  the score of new ones in KEYS[2]
-- ARGV[3]  an entry whose scores they get instead, if it exists
-- Returns  those that are new, concatenated
-- One script, because Python takes longer to pack hundreds of arguments than one, and atomic, because a list in the
-- order of a score must have every token of the index. An entry that exists causes no write, so nothing is added to
-- the AOF for it.

local added = {}
for at = 1, #ARGV[1], 48 do
  local entry = ARGV[1]:sub(at, at + 47)
  if redis.call('ZADD', KEYS[1], 0, entry) == 1 then
    redis.call('ZADD', KEYS[2], redis.call('ZSCORE', KEYS[2], ARGV[3]) or ARGV[2], entry)
    redis.call('ZADD', KEYS[3], redis.call('ZSCORE', KEYS[3], ARGV[3]) or 0, entry)
    added[#added + 1] = entry
  end
end
return table.concat(added)
