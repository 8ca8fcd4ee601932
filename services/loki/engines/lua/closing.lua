-- Variables that are <close> are closed on an uncaught error, too, and their __close may call the host:
-- so the error has to be caught below the script. Lua does not say then where memory ran out. Loaded when a text has one.
local inside = ...
local error, rawequal, xpcall, running, STOPPED = error, rawequal, inside.xpcall, inside.coroutine.running, inside.STOPPED
inside.places = inside.places or setmetatable({}, { __mode = "k" }) -- of errors, by threads that have unwound since
local places, place = inside.places, inside.part("failures").place

local function passed(ok, ...)
  if ok then return ... end
  error((...), 0)
end
local M = {}
function M.caught(f, label)
  local function noted(e)
    local thread = running()
    if not rawequal(e, STOPPED) or not places[thread] then places[thread] = place(label, thread) end
    return e
  end
  return function(...) return passed(xpcall(f, noted, ...)) end
end
return M
