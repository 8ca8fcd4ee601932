-- The coroutines of scripts. They are resumed through here, so that an operation of the host passes out of them, and each
-- looks now and then whether it has to stop. Loaded when the first is needed. Errors are those of stock Lua 5.4.
local inside = ...
local ask, HOST, STOPPED, stopped, main = inside.ask, inside.HOST, inside.STOPPED, inside.stopped, inside.main
local sethook, co, relayed = inside.sethook, inside.coroutine, inside.part("guards").relayed
local closed, unclosable = inside.closed, inside.unclosable
local error, rawequal, type, select, pcall, pack, unpack = error, rawequal, type, select, pcall, table.pack, table.unpack
local co_create, co_resume, co_yield, co_status = co.create, co.resume, co.yield, co.status
local co_running, co_isyieldable, co_close = co.running, co.isyieldable, co.close

local POLL_INSTRUCTIONS = 100000 -- how often one looks whether it has to stop

local function resumed(thread, ...)
  local results = pack(co_resume(thread, ...))
  while rawequal(results[2], HOST) do results = pack(co_resume(thread, ask(results[3]))) end
  if not results[1] and rawequal(results[2], STOPPED) then unclosable[thread] = true end
  return unpack(results, 1, results.n)
end
local poll
function poll()
  if not stopped() then return end
  sethook(co_running(), poll, "", 1) -- in case a pcall swallows it
  error(STOPPED, 0)
end
local function create(f)
  local thread = co_create(f)
  sethook(thread, poll, "", POLL_INSTRUCTIONS)
  return thread
end
local function checked_create(...)
  if type((...)) ~= "function" then return relayed("create", pcall(co_create, ...)) end
  return create((...))
end
local function checked_resume(...)
  if type((...)) ~= "thread" then return relayed("resume", pcall(co_resume, ...)) end
  return resumed(...)
end
local function close(...)
  local thread = ...
  local status = type(thread) == "thread" and co_status(thread)
  if status ~= "suspended" and status ~= "dead" then return relayed("close", pcall(co_close, ...)) end
  return closed(thread)
end
local function finish(thread, ok, ...) -- as auxwrap of lcorolib.c
  if ok then return ... end
  local e = (...)
  if co_status(thread) == "dead" then
    local fine, other = closed(thread)
    if not fine then e = other end
  end
  error(e, e == "not enough memory" and 0 or 2)
end
local function wrap(...)
  if type((...)) ~= "function" then return relayed("wrap", pcall(co_create, ...)) end
  local thread = create((...))
  return function(...) return finish(thread, resumed(thread, ...)) end
end
local function script_yield(...)
  if co_running() == main() then error("attempt to yield from outside a coroutine", 0) end
  return co_yield(...)
end
local function script_isyieldable(...)
  if select("#", ...) == 0 then return co_running() ~= main() and co_isyieldable() end
  if type((...)) ~= "thread" then return relayed("isyieldable", pcall(co_isyieldable, ...)) end
  return (...) ~= main() and co_isyieldable((...))
end
local M = {
  create = checked_create, resume = checked_resume, wrap = wrap, yield = script_yield, status = co_status, close = close,
  running = function() local thread = co_running() return thread, thread == main() end, isyieldable = script_isyieldable,
}
return { members = function() return M end }
