-- For tests of scripts (services/loki/scripts/harness.lua): the handlers are called here, when the test says that time goes
-- on. Outside of tests the host knows none of these operations.
local inside = ...
local host, handlers, once = inside.host, inside.handlers, inside.once
local pcall, error, next = pcall, error, next

local M = {}

local function deliver()
  while true do
    local due = host("test_due")
    if due == nil then return end
    local key = due.key
    local f = handlers[key]
    if once[key] then handlers[key], once[key] = nil, nil end
    local ok, e = pcall(f or function() end, due.value)
    host("test_handled", key)
    if not ok then error(e, 0) end
  end
end

function M.advance(seconds)
  host("test_advance", seconds == nil and 0 or seconds)
  deliver()
end
function M.event(path, fields, device)
  host("test_event", path, fields, device)
  M.advance(0)
end
function M.message(topic, value)
  host("test_message", topic, value)
  M.advance(0)
end
function M.published() return host("test_published") end
function M.reported() return host("test_reported") end
function M.begin()
  for key in next, handlers do handlers[key] = nil end
  for key in next, once do once[key] = nil end
  host("test_begin")
end

return M
