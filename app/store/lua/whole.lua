-- Included in every script that changes a token: ends it before it writes if the user may not run one of its commands,
-- because Redis keeps what a script has written before it fails.
-- KEYS[1]  stands for every argument, since the commands alone matter here

for command, count in ('@COMMANDS@'):gmatch('(%u+) (%d)') do
  local arguments = {}
  for i = 1, count do
    arguments[i] = KEYS[1]
  end
  -- A server that can't tell, such as one that only resembles Redis, refuses the command itself.
  local is_told, may_run = pcall(redis.acl_check_cmd, command, unpack(arguments))
  if is_told and not may_run then
    return redis.error_reply('NOPERM this user may not run ' .. command)
  end
end
