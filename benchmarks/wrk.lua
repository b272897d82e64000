-- Sends the raw requests of the file named by the first argument, NUL between them, one after the other,
-- and prints what wrk saw as one line of JSON.

local requests, turn = {}, 0

function init(args)
  local file = assert(io.open(args[1], 'rb'))
  for raw in file:read('*a'):gmatch('%Z+') do
    requests[#requests + 1] = raw
  end
  file:close()
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"p999_us":%d,"refused":%d,"broken":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
