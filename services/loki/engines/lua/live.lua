-- What programs have beside scripts: timers, schedules, handlers, own events, messages. Loaded when the first is needed.
-- Handlers are kept here by key ("timer:tick", "event:porch-1/temp0.over", "message:alarm", "own:cooled"); the host is
-- subscribed to them. In a script run the host rejects these. docs/reference/scripting.md has the table.
local inside = ...
local host, handlers, once = inside.host, inside.handlers, inside.once
local function misuse(...) inside.part("failures").misuse(...) end
local type, pcall, error = type, pcall, error
local format, find, gsub = string.format, string.find, string.gsub

local M = {}

-- The handler is set before the host is called: an event may arrive before its response.
local function register(key, f, is_once, ...)
  local before, before_once = handlers[key], once[key]
  handlers[key], once[key] = f, is_once or nil
  local ok, e = pcall(host, ...)
  if not ok then
    handlers[key], once[key] = before, before_once
    error(e, 0)
  end
end
local function handler(f, what, name)
  if type(f) == "function" then return f end
  misuse(format("the handler of the %s %s is a %s, not a function", what, name, type(f)),
    f == nil and "Pass the function itself, without parentheses behind its name." or "")
end

-- `-` is read as `_`; `/` as `.` in names with levels, else as `_` (services/loki/naming.py).
local function named(name, what, separator)
  if type(name) ~= "string" then misuse("a " .. what .. " is named by a string, not by a " .. type(name)) end
  return (gsub(gsub(name, "-", "_"), "/", separator or "_"))
end
local function timer(kind, is_once)
  return function(name, when, f)
    name = named(name, "timer")
    register("timer:" .. name, handler(f, "timer", name), is_once, "timer", kind, name, when)
  end
end
M.after, M.every, M.cron = timer("after", true), timer("every", false), timer("cron", false)
function M.cancel(name)
  name = named(name, "timer")
  local was = host("cancel", name)
  if was then handlers["timer:" .. name] = nil end
  return was
end

function M.on_device(id, path, f)
  path = named(path, "event", ".")
  register("event:" .. id .. "/" .. path, handler(f, "event", path), false, "listen", id, path)
end
function M.on(path, f) -- an event of the default device has a dot in its name, an own event has none
  if find(named(path, "event"), ".", 1, true) or path == "online" or path == "offline" then
    local id = inside.default or ""
    if id == "" then inside.part("failures").refuse("NO_DEVICE", "this program has no default device", "Use ygg.device(\"ID\"):on(...).") end
    return M.on_device(id, path, f)
  end
  local name = named(path, "event")
  register("own:" .. name, handler(f, "event", name), false, "own", name)
end
function M.emit(name, value) host("emit", named(name, "event"), value) end
function M.subscribe(topic, f)
  topic = named(topic, "topic", ".")
  register("message:" .. topic, handler(f, "topic", topic), false, "subscribe", topic)
end

return M
