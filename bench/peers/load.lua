-- wrk -s load.lua URL -- METHOD BODY TOKEN: sends one request over and over, and prints what was measured as JSON

function init(args)
  wrk.method = args[1]
  if args[2] ~= "" then
    wrk.body = args[2]
    wrk.headers["Content-Type"] = "application/json"
  end
  if args[3] ~= "" then
    wrk.headers["Authorization"] = "Bearer " .. args[3]
  end
end

-- milliseconds that a connection waits before each request, on average; without this function wrk does not wait. The first
-- request of each comes within 8 s: Nginx closes connections that have sent none after 10 s
local pause, fresh = tonumber(os.getenv("PAUSE_MS")), tonumber(os.getenv("CONNECTIONS"))
if pause then
  function delay()
    fresh = fresh - 1
    return math.floor((fresh >= 0 and math.min(2 * pause, 8000) or 2 * pause) * math.random())
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"seconds":%f,"refused":%d,"broken":%d,"p50":%f,"p99":%f}\n',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
