-- The environment of a script: the safe libraries of Lua 5.4 and the host API of docs/reference/scripting.md.
-- Runs once in a fresh runtime, before any script. Gets five functions of the worker, which take and return strings and
-- numbers only; they stay in upvalues that no script can reach (debug is gone by then).
-- Thousands of programs share a worker, so rarely used code is in modules that are loaded on demand. Scripts cannot
-- observe that.
local worker_refuse, worker_log, worker_stopped, worker_settle, worker_part = ...

local G = _G
local type, tostring, tonumber, error, pcall, select, pairs = type, tostring, tonumber, error, pcall, select, pairs
local rawget, rawset, rawequal, next, raw_load = rawget, rawset, rawequal, next, load
local raw_setmetatable, raw_getmetatable, raw_collect, raw_xpcall = setmetatable, getmetatable, collectgarbage, xpcall
local pack, unpack = table.pack, table.unpack
local format, match, find, concat, math_type = string.format, string.match, string.find, table.concat, math.type
local sethook, getinfo, force_metatable = debug.sethook, debug.getinfo, debug.setmetatable
local co_create, co_resume, co_yield, co_status = coroutine.create, coroutine.resume, coroutine.yield, coroutine.status
local co_isyieldable, co_close = coroutine.isyieldable, coroutine.close

raw_collect("stop") -- nearly all that is made here stays

local HOST, IDLE = {}, {} -- yielded with an operation of the host, or for the next event; no script sees or forges them
local STOPPED = raw_setmetatable({}, { __tostring = function() return "stopped" end, __metatable = false })
local main, label -- the thread that runs, and the script's name as it stands in messages

-- Parts. `inside` holds the values that parts share; `made` is dropped after the first turn, since many are needed only
-- at the start. Parts see the globals as they were before the script could change them.
local inside = { HOST = HOST, STOPPED = STOPPED, handlers = {}, once = {}, coroutine = coroutine, G = G, sethook = sethook,
  getinfo = getinfo, metatable_of = debug.getmetatable, stopped = worker_stopped, log = worker_log,
  load = raw_load, collectgarbage = raw_collect, xpcall = raw_xpcall, main = function() return main end }
local pristine = { type = type, tostring = tostring, tonumber = tonumber, error = error, pcall = pcall, select = select,
  rawget = rawget, rawset = rawset, rawlen = rawlen, rawequal = rawequal, next = next, ipairs = ipairs,
  setmetatable = raw_setmetatable,
  string = { format = format, match = match, find = find, sub = string.sub, gsub = string.gsub, byte = string.byte,
    char = string.char },
  table = { concat = concat, sort = table.sort, pack = table.pack, unpack = table.unpack },
  math = { type = math_type, huge = math.huge, tointeger = math.tointeger }, utf8 = { len = utf8.len, char = utf8.char } }
local made = {}
local function part(name)
  local found = made[name]
  if found then return found end
  local code = worker_part(name)
  worker_settle()
  local chunk, fault = raw_load(code, "=" .. name, "b", pristine)
  if not chunk then error(fault, 0) end -- not enough memory
  found = chunk(inside)
  made[name] = found
  return found
end
local function json() return part("json") end
local function stub(from, name)
  return function(...) return part(from)[name](...) end
end

-- Most values sent to the host are plain; JSON is loaded for the others.
local function plain(v) -- its JSON, nil if it is not plain
  local kind = type(v)
  if kind == "nil" then return "null" end
  if kind == "boolean" then return v and "true" or "false" end
  if kind == "string" then return not find(v, '[%c"\\\128-\255]') and '"' .. v .. '"' or nil end
  if kind ~= "number" then return nil end
  if math_type(v) == "integer" then return format("%d", v) end
  local text = format("%.17g", v)
  return match(text, "^-?%d[%d.e+-]*$") and (find(text, "[.e]") and text or text .. ".0")
end
local function read(text) -- whether it is plain, and the value
  if text == "" or text == "null" then return true, nil end
  if text == "true" or text == "false" then return true, text == "true" end
  local value = match(text, '^"([^"\\]*)"$') or match(text, "^-?%d[%d.e+-]*$") and tonumber(text)
  return value ~= nil and value ~= false, value
end
local function decoded(text)
  local is_plain, value = read(text)
  if is_plain then return value end
  value = json().decode_wire(text)
  if value == json().null then return nil end
  return value
end
local function encoded(v) return plain(v) or json().encode_wire(v) end

-- One operation of the host. The whole program is suspended, out of whatever coroutine it is in; where Lua cannot
-- yield (inside a metamethod that C calls, say) it is refused.
local closing = 0
local function ask(payload)
  if closing == 0 and co_isyieldable() then return co_yield(HOST, payload) end
  local answer = worker_refuse()
  worker_settle()
  return answer
end
local function request(...)
  local words = {}
  for i = 1, select("#", ...) do
    words[i] = plain((select(i, ...)))
    if not words[i] then return json().encode_request { ... } end
  end
  return "[" .. concat(words, ",") .. "]"
end
local failures
local function host(...)
  local ok, payload = pcall(request, ...)
  if not ok then
    if type(payload) ~= "string" or payload == "not enough memory" then error(payload, 0) end
    failures.misuse(payload)
  end
  local answer = ask(payload)
  local is_plain, value = read(match(answer, "^%[true,(.*)%]$") or "?")
  if is_plain then return value end
  answer = json().decode_wire(answer)
  if not answer[1] then error(failures.host_error(answer[2]), 0) end
  if answer[2] == json().null then return nil end
  return answer[2]
end
local function operation(name, arity)
  return function(...)
    if arity == 0 then return host(name) end
    local a, b = ...
    if arity == 1 then return host(name, a) end
    return host(name, a, b)
  end
end
inside.part, inside.ask, inside.host = part, ask, host
failures = part("failures") -- loaded now, and for good: to report that memory ran out must not need any

-- Implements coroutine.close: Lua runs the pending __close handlers, which cannot suspend although coroutine.isyieldable
-- returns true in them.
-- A thread that the stop ended is not closed: no hook runs in it any more, so its __close could not be stopped.
local unclosable = raw_setmetatable({}, { __mode = "k" })
local function closed(thread)
  if unclosable[thread] then return false, STOPPED end
  closing = closing + 1
  local fine, e = co_close(thread)
  closing = closing - 1
  return fine, e
end
inside.closed, inside.unclosable = closed, unclosable

-- The libraries, without access to files, processes, bytecode, other runtimes or the collector.
function G.setmetatable(...)
  local t, mt = ...
  if type(mt) == "table" and rawget(mt, "__gc") ~= nil then error("__gc is not available to scripts", 2) end
  if type(t) == "table" and type(mt) == "table" and raw_getmetatable(t) == nil then return raw_setmetatable(t, mt) end
  return part("guards").setmetatable(...)
end
-- The handler of a script is called where xpcall stands, so that it may ask the host; scripts have no debug library to see the
-- difference. It is not asked about the stop, it might never answer, nor where memory ran out, as in Lua's own.
local function handled(handler, ok, ...)
  if ok then return true, ... end
  local e = ...
  if rawequal(e, STOPPED) then error(e, 0) end
  if e == "not enough memory" then return false, e end
  local _, answer = pcall(handler, e)
  return false, answer
end
function G.xpcall(f, ...)
  local handler = ...
  if type(handler) ~= "function" then return part("guards").xpcall(f, ...) end
  return handled(handler, pcall(f, select(2, ...)))
end
G.table.sort, G.string.gsub = stub("callbacks", "sort"), stub("callbacks", "gsub")
G.load, G.collectgarbage = stub("guards", "load"), stub("guards", "collectgarbage")
G.os = { time = os.time, clock = os.clock, date = os.date, difftime = os.difftime }
G.string.dump = nil
local loaded = debug.getregistry()._LOADED -- would keep the omitted libraries
for _, name in ipairs { "os", "coroutine", "python", "io", "debug", "package", "dofile", "loadfile" } do
  loaded[name] = nil
  if name ~= "os" then G[name] = nil end
end

-- The host API. Its tables fill themselves from a part when they are first looked into.
local api = { sleep = operation("sleep", 1), publish = operation("publish", 2), time = operation("time", 0),
  uptime = operation("uptime", 0), memory_info = stub("guards", "memory_info"), log = {}, store = {} }
for _, name in ipairs { "after", "every", "cron", "cancel", "on", "emit", "subscribe" } do api[name] = stub("live", name) end
for name, member in next, api do G[name] = member end
G.json, G.ygg, G.coroutine, inside.api = {}, {}, {}, api
G.require = stub("packages", "require")
G.print, G.warn, G.format = stub("printing", "print"), stub("printing", "warn"), format

local from = { [G.json] = "json", [G.ygg] = "devices", [G.coroutine] = "coroutines", [api.log] = "printing",
  [api.store] = "store" }
local function called(t, ...)
  if t == api.log then return part("printing").info(...) end
  local key, value = ...
  return host("store", key, value)
end
local name_of = { [G.json] = "json", [G.ygg] = "ygg", [api.log] = "log", [api.store] = "store" }
local function fill(t)
  local found, name = part(from[t]).members(), name_of[t]
  if name then return force_metatable(t, part("members").metatable(name, found, called)) end
  for key, member in next, found do rawset(t, key, member) end
  force_metatable(t, nil)
end
local function look(t, key) fill(t) return t[key] end
local function set(t, key, value) fill(t) t[key] = value end
local function go_through(t) fill(t) return pairs(t) end
local function lazy(call)
  return { __metatable = false, __call = call, __index = look, __newindex = set, __pairs = go_through }
end
local LAZY, LAZY_CALLED = lazy(), lazy(called)
for t in next, from do raw_setmetatable(t, (t == api.log or t == api.store) and LAZY_CALLED or LAZY) end

inside.ids = raw_setmetatable({}, { __mode = "k" }) -- of devices; their field `id` is the script's to see only
local DEVICE = { __name = "device", __metatable = false, __tostring = function(d) return "device " .. d.id end,
  __index = function(d, name) return part("devices").member(d, name) end,
  __newindex = function(_, name, value) part("members").set("device", name, value) end }
function inside.device_of(d)
  inside.ids[d] = d.id
  return raw_setmetatable(d, DEVICE)
end
local function no_device()
  local function refuse() failures.no_device() end
  return raw_setmetatable({}, { __name = "device", __metatable = false, __index = refuse, __newindex = refuse })
end

-- read_temp0_celsius() and set_led0(true) of the default device.
function inside.of_device(globals, name)
  if type(name) == "string" and (match(name, "^read_") or match(name, "^set_")) then
    return function(...) return globals.device[name](...) end
  end
end
raw_setmetatable(G, { __index = inside.of_device })

-- Which names stand there before the script runs.
G.args, G.device = 0, 0
local words = {}
for name in next, G do words[#words + 1] = name end
inside.names = " " .. concat(words, " ") .. " "

-- Running. A failure is kept in `fault` until the worker, which first reserves memory, requests the report.
local idle -- the thread of a finished turn, reused for the next event
local fault

local function failed(how, e)
  fault = e
  return "failed", how
end
local function report(how)
  local e, failing = fault, main
  fault = nil
  local at = failing and (inside.places and inside.places[failing] or failures.place(label, failing))
  local report = pack(failures[how](e, label, at))
  if how == "failed" and co_status(failing) == "dead" then
    closed(failing) -- what load and for have left pending
    if worker_stopped() then report = pack(failures.failed(STOPPED, label, at)) end
  end
  return unpack(report, 1, report.n)
end

local function run(...)
  closing = 0 -- a stop may have come at any place
  local ok, first, payload = co_resume(main, ...)
  if not ok then
    unclosable[main] = rawequal(first, STOPPED) or nil
    return failed("failed", first)
  end
  if first == IDLE then
    idle = main
    return "idle", "null"
  end
  if co_status(main) ~= "dead" then return "call", payload end
  local fine, value = pcall(encoded, first)
  if fine then return "done", value end
  return failed("no_value", value)
end

local function step(answer)
  worker_settle()
  return run(answer)
end

function inside.note(source) -- a text that is about to be run
  inside.closes = inside.closes or find(source, "<%s*close%s*>") ~= nil
end

local function stopper() error(STOPPED, 0) end
local function thread_of(chunk)
  main = co_create(inside.closes and part("closing").caught(chunk, label) or chunk)
  sethook(main, stopper, "", 1 << 30) -- the worker takes it out and puts it in to stop us
  return "thread", tostring(main)
end

local function start(name, source, device_id, arguments)
  worker_settle()
  label, inside.default = name, device_id
  inside.note(source)
  main = nil
  local chunk, why = raw_load(source, "@" .. name, "t")
  if not chunk then return failed("not_loaded", why) end
  G.args = arguments == '{"m":{}}' and {} or json().decode_wire(arguments)
  G.device = device_id ~= "" and inside.device_of { id = device_id } or no_device()
  return thread_of(inside.linked and part("packages").before(chunk, G.device, G.args) or chunk)
end

-- A deployed program: many turns, each a separate coroutine; `main` is the running one.
local turns = {}

local function ignore() end
local function handler_of(key)
  local handler = inside.handlers[key] or ignore
  if inside.once[key] then inside.handlers[key], inside.once[key] = nil, nil end
  return handler
end
local function events(handler, value)
  while true do
    handler(value)
    handler, value = co_yield(IDLE)
  end
end
local function body_of(what, key, payload)
  if what == "event" then
    local value, handler = decoded(payload), handler_of(key)
    return function() events(handler, value) end
  elseif what == "eval" then
    return part("inspect").evaluated(key)
  elseif what == "globals" then
    return part("inspect").globals(json().decode_wire(payload))
  end
  return part("inspect").set(key, decoded(payload))
end
local function begin(turn, what, key, payload)
  worker_settle()
  main = nil
  local chunk, why = body_of(what, key, payload)
  if not chunk then return failed("not_evaluated", tostring(why)) end
  local kind, address = thread_of(chunk)
  turns[turn] = main
  return kind, address
end
local function event(turn, key, payload) -- in the thread that is idle; the worker has seen that there is room
  local value = decoded(payload)
  main, idle = idle, nil
  local kind, result = run(handler_of(key), value)
  if kind == "call" then turns[turn] = main end
  return kind, result
end
local function first(turn, name, source, device_id, arguments)
  local kind, payload = start(name, source, device_id, arguments)
  if kind == "thread" then turns[turn] = main end
  return kind, payload
end
local function go_on(turn, answer)
  main = turns[turn]
  local kind, payload = step(answer)
  if kind ~= "call" then turns[turn] = nil end
  return kind, payload
end
local function drop(turn)
  turns[turn] = nil
  return "done", ""
end

local function link(...)
  worker_settle()
  return part("packages").link(...)
end

local function compact()
  made = { failures = failures }
  raw_collect("incremental", 120, 200) -- thousands share a worker: memory is dearer than time
  raw_collect("collect")
end

raw_collect("restart")
return start, step, report, first, begin, go_on, drop, compact, link, event
