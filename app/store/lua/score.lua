#!lua
-- Correct the scores of entries of the index.
-- KEYS[1]  the index                                sorted set
-- KEYS[2]  those that expire, by their expiry       sorted set; written here
-- KEYS[3]  those that were used, by their last use  sorted set; written here
-- ARGV[1]  the entries, 48 bytes each, concatenated
-- ARGV[2]  the scores of each in KEYS[2] and KEYS[3], separated by spaces: a number, - for none, or = for no change
-- Returns  nothing
-- Atomic, so that an entry that is dropped meanwhile does not return. A score that is right causes no write, so nothing
-- is added to the AOF for it.

local next_score = ARGV[2]:gmatch('%S+')
for at = 1, #ARGV[1], 48 do
  local entry = ARGV[1]:sub(at, at + 47)
  for i = 2, 3 do
    local score = next_score()
    if score == '-' then
      redis.call('ZREM', KEYS[i], entry)
    elseif score ~= '=' and redis.call('ZSCORE', KEYS[1], entry) then
      redis.call('ZADD', KEYS[i], score, entry)
    end
  end
end
