#!lua flags=no-writes
-- Tell which commands the user of this connection may not run, without running any.
-- KEYS     none
-- ARGV[i]  a command with its arguments, separated by blanks
-- Returns  for each of them 1 if it may be run, 0 if not, and -1 if the server does not know the command
-- One script, because only scripts may ask for the rights of their user without a right to ACL. It changes nothing.

local replies = {}
for i, line in ipairs(ARGV) do
  local words = {}
  for word in line:gmatch('%S+') do
    words[#words + 1] = word
  end
  local known, allowed = pcall(redis.acl_check_cmd, unpack(words))
  replies[i] = not known and -1 or allowed and 1 or 0
end
return replies
