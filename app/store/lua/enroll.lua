#!lua
-- Add entries to the index unless they exist.
-- KEYS[1]  the index      sorted set; written here
-- ARGV[1]  the entries, 48 bytes each, concatenated
-- Returns  nothing
-- One script, because Python takes longer to pack hundreds of arguments than one. It need not be atomic: adding an
-- entry twice has no effect. An entry that exists causes no write, so nothing is added to the AOF for it.

for at = 1, #ARGV[1], 48 do
  redis.call('ZADD', KEYS[1], 0, ARGV[1]:sub(at, at + 47))
end
