-- The mix of bench/soak.py for wrk: every verb, good and bad requests. Arguments: how many requests were sent before, the
-- length of the large bodies. A request for an item comes some rounds of the mix after the one that created it.
local large
local LAG = 20
-- global, for done()
step, counts = 0, {}

local function id(number)
  return string.format("00000000-0000-4000-8000-%012x", number)
end

local function item(content)
  return '{"title": "soak", "content": "' .. content .. '"}'
end

local JSON = {["Content-Type"] = "application/json"}

local mix = {
  function(n) return wrk.format("PUT", "/item/" .. id(n), JSON, item("small")) end,
  function(n) return wrk.format("GET", "/item/" .. id(n - LAG)) end,
  function(n) return wrk.format("POST", "/item/" .. id(n - LAG), JSON, item("changed")) end,
  function(n) return wrk.format("GET", "/ping") end,
  function(n) return wrk.format("GET", "/item?id=" .. id(n - LAG)) end,
  function(n) return wrk.format("GET", "/item?limit=10") end,
  function(n) return wrk.format("POST", "/item/" .. id(n - LAG), JSON, item(large)) end,
  function(n) return wrk.format("GET", "/item/" .. id(n - LAG)) end,
  function(n) return wrk.format("PUT", "/item", JSON, '{"title": ') end,
  function(n) return wrk.format("PUT", "/item", JSON, '{"title": 1, "other": "x"}') end,
  function(n) return wrk.format("GET", "/authenticated-item", {Authorization = "Bearer e30.e30.e30"}) end,
  function(n) return wrk.format("OPTIONS", "/item", {Origin = "https://example.com",
    ["Access-Control-Request-Method"] = "PUT"}) end,
  function(n) return wrk.format("GET", "/item/not-an-id") end,
  function(n) return wrk.format("GET", "/nothing-" .. n) end,
  function(n) return wrk.format("PATCH", "/item/" .. id(n)) end,
  function(n) return wrk.format("TRACE", "/item") end,
  function(n) return wrk.format("PUT", "/item", {["Content-Type"] = "text/plain"}, "text") end,
  function(n) return wrk.format("GET", "/openapi.json") end,
  function(n) return wrk.format("GET", "/item/" .. id(n), {["If-None-Match"] = "*"}) end,
  function(n) return wrk.format("DELETE", "/item/" .. id(n - 2 * LAG)) end,
}

function init(arguments)
  step, large = tonumber(arguments[1]), string.rep("x", tonumber(arguments[2]))
end

function request()
  step = step + 1
  return mix[(step - 1) % #mix + 1](2 * LAG + math.floor((step - 1) / #mix))
end

function response(status)
  counts[status] = (counts[status] or 0) + 1
end

local only
function setup(thread)
  only = thread
end

function done(summary)
  local errors = summary.errors
  local parts = {string.format('"sent": %d', only:get("step")),
    string.format('"broken": %d', errors.connect + errors.read + errors.write + errors.timeout)}
  for status, count in pairs(only:get("counts")) do
    parts[#parts + 1] = string.format('"%d": %d', status, count)
  end
  io.write("{" .. table.concat(parts, ", ") .. "}\n")
end
