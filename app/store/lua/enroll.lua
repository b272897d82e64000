#!lua
-- Put entries into the index that may be there already.
-- KEYS[1]  the index      sorted set; written here
-- ARGV[1]  the entries, 48 bytes each, one behind the other
-- Returns  nothing
-- One script, because hundreds of arguments take Python longer to pack than one. An entry that is there costs
-- no write, so nothing of it goes to the AOF.

for at = 1, #ARGV[1], 48 do
  redis.call('ZADD', KEYS[1], 0, ARGV[1]:sub(at, at + 47))
end
