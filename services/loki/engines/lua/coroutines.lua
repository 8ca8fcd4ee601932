-- The coroutines of scripts. They are resumed through here, so that an operation of the host passes out of them, and each
-- looks now and then whether it has to stop. Loaded when the first is needed.
local inside = ...
local ask, HOST, STOPPED, stopped, main = inside.ask, inside.HOST, inside.STOPPED, inside.stopped, inside.main
local sethook, co = inside.sethook, inside.coroutine
local error, rawequal, pack, unpack = error, rawequal, table.pack, table.unpack
local co_create, co_resume, co_yield, co_status = co.create, co.resume, co.yield, co.status
local co_running, co_isyieldable, co_close = co.running, co.isyieldable, co.close

local POLL_INSTRUCTIONS = 100000 -- how often one looks whether it has to stop

local function resumed(thread, ...)
  local results = pack(co_resume(thread, ...))
  while rawequal(results[2], HOST) do results = pack(co_resume(thread, ask(results[3]))) end
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
local function finish(thread, ok, ...)
  if ok then return ... end
  if co_status(thread) == "dead" then co_close(thread) end
  error((...), 0)
end
local function wrap(f)
  local thread = create(f)
  return function(...) return finish(thread, resumed(thread, ...)) end
end
local function script_yield(...)
  if co_running() == main() then error("attempt to yield from outside a coroutine", 2) end
  return co_yield(...)
end
local M = {
  create = create, resume = resumed, wrap = wrap, yield = script_yield, status = co_status, close = co_close,
  running = function() local thread = co_running() return thread, thread == main() end,
  isyieldable = function() return co_running() ~= main() and co_isyieldable() end,
}
return { members = function() return M end }
