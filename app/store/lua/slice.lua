#!lua flags=no-writes
-- Cut a slice out of the index, newest first.
-- KEYS[1]  the index      sorted set
-- ARGV[1]  the upper bound, as ZRANGE BYLEX takes it
-- ARGV[2]  the lower bound
-- ARGV[3]  how many entries at most
-- Returns  the entries, one behind the other
-- One script, because one long reply is parsed in a fraction of the time that hundreds of short ones take.

return table.concat(redis.call('ZRANGE', KEYS[1], ARGV[1], ARGV[2], 'BYLEX', 'REV', 'LIMIT', 0, ARGV[3]))
