-- Answers a ForwardAuth sub-request: one round trip to Redis on a connection of the pool that resty.redis keeps.

local redis = require 'nginx.redis'
local sha256 = require 'nginx.sha256'
local to_hex = require('nginx.string').to_hex

local pepper = os.getenv('PEPPER')
local port = tonumber(os.getenv('REDIS_PORT'))
local limit = tonumber(os.getenv('RATE_LIMIT_MAX'))
local window_s = os.getenv('RATE_LIMIT_WINDOW_SEC')

local TIMEOUT_MS, IDLE_MS, POOL_SIZE = 1000, 60000, 256
local ngx, null, find, lower, match = ngx, ngx.null, string.find, string.lower, string.match

-- Without a length, nginx would send chunks.
local function send(text)
  ngx.header.content_length = #text
  ngx.print(text)
end

local function refuse(status, text, name, value)
  ngx.status = status
  if name then
    ngx.header[name] = value
  end
  send(text)
end

local function digest_of(token)
  local hash = sha256:new()
  hash:update(token)
  hash:update(pepper)
  return to_hex(hash:final())
end

-- Returns the hosts of the token, null if it is unknown, and its requests in this window; or nil if Redis failed.
local function count(digest)
  local client = redis:new()
  client:set_timeout(TIMEOUT_MS)
  if not client:connect('127.0.0.1', port) then
    return nil
  end
  local key = 'rate:' .. digest
  client:init_pipeline(2)
  client:hget('tokens:' .. digest, 'hosts')
  client:incr(key)
  local replies = client:commit_pipeline()
  local failed = not replies or type(replies[1]) == 'table' or type(replies[2]) ~= 'number'
  if failed or (replies[2] == 1 and not client:expire(key, window_s)) then
    client:close()
    return nil
  end
  client:set_keepalive(IDLE_MS, POOL_SIZE)
  return replies[1], replies[2]
end

local function answer()
  local scheme, token = match(ngx.var.http_authorization or '', '^(%a+) +(.+)$')
  if not scheme or lower(scheme) ~= 'bearer' then
    return refuse(401, 'missing bearer token', 'WWW-Authenticate', 'Bearer')
  end
  local hosts, requests = count(digest_of(token))
  if not hosts then
    return refuse(503, 'redis unavailable')
  elseif hosts == null then
    return refuse(401, 'invalid token', 'WWW-Authenticate', 'Bearer error="invalid_token"')
  end
  local host = lower(ngx.var.http_x_forwarded_host or '')
  if not find(',' .. hosts .. ',', ',' .. host .. ',', 1, true) then
    return refuse(403, 'forbidden for host')
  elseif requests > limit then
    return refuse(429, 'rate limit exceeded', 'Retry-After', window_s)
  end
  send('OK')
end

return { answer = answer }
