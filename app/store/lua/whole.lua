-- Included in every script that changes a token: ends it before it writes if the user may not run one of its commands,
-- because Redis keeps what a script has written before it fails.
-- KEYS[1]  stands for every key, since the commands alone matter here

for command in ('@COMMANDS@'):gmatch('%u+') do
  -- Servers that only resemble Redis may lack the function.
  if redis.acl_check_cmd and not redis.acl_check_cmd(command, KEYS[1], KEYS[1], KEYS[1]) then
    return redis.error_reply('NOPERM this user may not run ' .. command)
  end
end
