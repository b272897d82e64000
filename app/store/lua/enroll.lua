#!lua
-- Add entries to the index unless they exist.
-- KEYS[1]  the index      sorted set; written here, as the others
-- KEYS[2]  those that expire, by their expiry      sorted set
-- KEYS[3]  those that were used, by their last use  sorted set
-- ARGV[1]  the entries, 48 bytes each, concatenated
-- ARGV[2]  the score of new ones in KEYS[2], or - for none
-- ARGV[3]  an entry whose scores new ones get instead, if it has any
-- Returns  those that are new, concatenated
-- One script, because Python takes longer to pack hundreds of arguments than one. It need not be atomic: adding an
-- entry twice has no effect. An entry that exists causes no write, so nothing is added to the AOF for it.

local expiry, used, added = redis.call('ZSCORE', KEYS[2], ARGV[3]), redis.call('ZSCORE', KEYS[3], ARGV[3]), {}
if not expiry and ARGV[2] ~= '-' then
  expiry = ARGV[2]
end
for at = 1, #ARGV[1], 48 do
  local entry = ARGV[1]:sub(at, at + 47)
  if redis.call('ZADD', KEYS[1], 0, entry) == 1 then
    if expiry then
      redis.call('ZADD', KEYS[2], expiry, entry)
    end
    if used then
      redis.call('ZADD', KEYS[3], used, entry)
    end
    added[#added + 1] = entry
  end
end
return table.concat(added)
