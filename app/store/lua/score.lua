#!lua
-- Give entries of the index their scores.
-- KEYS[1]  the index                sorted set
-- KEYS[2]  its members by expiry    sorted set; written here
-- KEYS[3]  its members by last use  sorted set; written here
-- ARGV[1]  the entries, 48 bytes each, concatenated
-- ARGV[2]  the scores of each in KEYS[2] and KEYS[3], separated by spaces; - leaves a score unchanged
-- Returns  nothing
-- Atomic, so that an entry that has been dropped meanwhile does not return. A score that is right causes no write.

local next_score, at = ARGV[2]:gmatch('%S+'), 1
for expiry in next_score do
  local used, entry = next_score(), ARGV[1]:sub(at, at + 47)
  at = at + 48
  if redis.call('ZSCORE', KEYS[1], entry) then
    if expiry ~= '-' then
      redis.call('ZADD', KEYS[2], expiry, entry)
    end
    if used ~= '-' then
      redis.call('ZADD', KEYS[3], used, entry)
    end
  end
end
