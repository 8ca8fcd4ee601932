-- What programs have beside scripts: timers, schedules, handlers, own events, messages. Loaded when the first is needed.
-- Handlers are kept here by key ("timer:tick", "event:porch-1/temp0.over", "message:alarm", "own:cooled"); the host is told
-- what to send. In a script that is only executed the host refuses. docs/SCRIPTING.md has the table.
local inside = ...
local host, handlers, once = inside.host, inside.handlers, inside.once
local function misuse(...) inside.part("failures").misuse(...) end
local type, pcall, error, match = type, pcall, error, string.match

local M = {}

-- The handler is there before the host knows: what is due at once may come while we still wait for its answer.
local function register(key, f, is_once, ...)
  if type(f) ~= "function" then misuse("a handler is a function, not a " .. type(f)) end
  local before, before_once = handlers[key], once[key]
  handlers[key], once[key] = f, is_once or nil
  local ok, e = pcall(host, ...)
  if not ok then
    handlers[key], once[key] = before, before_once
    error(e, 0)
  end
end
local function named(name, what)
  if type(name) ~= "string" then misuse("a " .. what .. " is named by a string, not by a " .. type(name)) end
  return name
end
local function timer(kind, is_once)
  return function(name, when, f) register("timer:" .. named(name, "timer"), f, is_once, "timer", kind, name, when) end
end
M.after, M.every, M.cron = timer("after", true), timer("every", false), timer("cron", false)
function M.cancel(name)
  local was = host("cancel", named(name, "timer"))
  if was then handlers["timer:" .. name] = nil end
  return was
end

function M.on_device(id, path, f)
  if path == "online" or path == "offline" then return register("event:" .. id .. "/" .. path, f, false, "listen", id, "", path) end
  local capability, name = match(named(path, "event"), "^([^.]+)%.([^.]+)$")
  if not capability then misuse("an event is named CAPABILITY.NAME, such as temp0.over") end
  register("event:" .. id .. "/" .. path, f, false, "listen", id, capability, name)
end
function M.on(path, f) -- an event of the default device has a dot in its name, an own event has none
  if match(named(path, "event"), "%.") or path == "online" or path == "offline" then
    local id = inside.default or ""
    if id == "" then inside.part("failures").refuse("NO_DEVICE", "this program has no default device", "Use ygg.device(\"ID\"):on(...).") end
    return M.on_device(id, path, f)
  end
  register("own:" .. path, f, false, "own", path)
end
function M.emit(name, value) host("emit", named(name, "event"), value) end
function M.subscribe(topic, f) register("message:" .. named(topic, "topic"), f, false, "subscribe", topic) end

return M
