-- What a script sees: the safe libraries of Lua 5.4 and the host API of docs/SCRIPTING.md.
-- Runs once in a fresh runtime, before any script. Gets the four other chunks and four functions of the worker, which take
-- and return strings and numbers only; they stay in upvalues that no script can reach (debug is gone by then).
local json, devices_of, live_of, packages_of, worker_block, worker_log, worker_stopped, worker_settle = ...

local G = _G
local type, tostring, tonumber, error, pcall, select = type, tostring, tonumber, error, pcall, select
local rawget, ipairs, next, raw_load, raw_setmetatable, raw_collect = rawget, ipairs, next, load, setmetatable, collectgarbage
local format, match, sub, gsub, utf8_len, rawequal = string.format, string.match, string.sub, string.gsub, utf8.len, rawequal
local pack, unpack, concat = table.pack, table.unpack, table.concat
local sethook, getinfo = debug.sethook, debug.getinfo
local co_create, co_resume, co_yield, co_status = coroutine.create, coroutine.resume, coroutine.yield, coroutine.status
local co_running, co_isyieldable, co_close = coroutine.running, coroutine.isyieldable, coroutine.close

local POLL_INSTRUCTIONS = 100000 -- how often a coroutine of the script looks whether it has to stop
local HOST = {} -- yielded with an operation of the host; a script can neither see nor forge it
local STOPPED = raw_setmetatable({}, { __tostring = function() return "stopped" end, __metatable = false })
local main

-- Errors of the host: tables with status, reason, message and hint that read as their message.
local ERROR = { __name = "ygg.error", __tostring = function(e) return tostring(rawget(e, "message")) end,
  __metatable = false }
local errors = raw_setmetatable({}, { __mode = "k" })
local function host_error(fields)
  local e = raw_setmetatable(fields, ERROR)
  errors[e] = true
  return e
end
local function refuse(reason, message, hint)
  error(host_error { status = "FAILED_PRECONDITION", reason = reason, message = message, hint = hint or "" }, 0)
end
local function misuse(message, hint)
  error(host_error { status = "INVALID_ARGUMENT", reason = "INVALID_REQUEST", message = message, hint = hint or "" }, 0)
end

-- One operation of the host. The whole program is suspended, out of whatever coroutine it is in; where Lua cannot
-- yield (inside a comparison of table.sort, say) the worker waits instead.
local function ask(payload)
  if co_isyieldable() then return co_yield(HOST, payload) end
  local answer = worker_block(payload)
  worker_settle()
  return answer
end

local function host(...)
  local request = pack(...)
  request.n = nil
  local ok, payload = pcall(json.encode_wire, json.list(request))
  if not ok then
    if type(payload) ~= "string" or payload == "not enough memory" then error(payload, 0) end
    misuse(payload)
  end
  local answer = json.decode_wire(ask(payload))
  if answer[1] then
    if answer[2] == json.null then return nil end
    return answer[2]
  end
  error(host_error(answer[2]), 0)
end

-- Coroutines: those of the script are resumed through here, so that an operation of the host passes out of them.
local function resumed(co, ...)
  local results = pack(co_resume(co, ...))
  while rawequal(results[2], HOST) do results = pack(co_resume(co, ask(results[3]))) end
  return unpack(results, 1, results.n)
end
local poll
function poll()
  if not worker_stopped() then return end
  sethook(co_running(), poll, "", 1) -- in case a pcall swallows it
  error(STOPPED, 0)
end
local function create(f)
  local co = co_create(f)
  sethook(co, poll, "", POLL_INSTRUCTIONS)
  return co
end
local function finish(co, ok, ...)
  if ok then return ... end
  if co_status(co) == "dead" then co_close(co) end
  error((...), 0)
end
local function wrap(f)
  local co = create(f)
  return function(...) return finish(co, resumed(co, ...)) end
end
local function script_yield(...)
  if co_running() == main then error("attempt to yield from outside a coroutine", 2) end
  return co_yield(...)
end
G.coroutine = {
  create = create, resume = resumed, wrap = wrap, yield = script_yield, status = co_status, close = co_close,
  running = function() local co = co_running() return co, co == main end,
  isyieldable = function() return co_running() ~= main and co_isyieldable() end,
}

-- The libraries: what is left out reaches files, processes, bytecode, other runtimes or the collector.
function G.setmetatable(t, mt)
  if type(mt) == "table" and rawget(mt, "__gc") ~= nil then error("__gc is not available to scripts", 2) end
  return raw_setmetatable(t, mt)
end
local raw_xpcall = xpcall
function G.xpcall(f, handler, ...) -- the handler of a script is not asked about the stop, it might never answer
  return raw_xpcall(f, function(e)
    if rawequal(e, STOPPED) then return e end
    return handler(e)
  end, ...)
end
function G.load(chunk, name, _, ...) return raw_load(chunk, name, "t", ...) end
function G.collectgarbage(option, ...)
  if option == nil or option == "collect" or option == "count" then return raw_collect(option, ...) end
  error("collectgarbage knows 'collect' and 'count' here", 2)
end
G.os = { time = os.time, clock = os.clock, date = os.date, difftime = os.difftime }
G.string.dump = nil
for _, name in ipairs { "python", "io", "debug", "package", "require", "dofile", "loadfile" } do G[name] = nil end

-- Logging.
local function joined(separator, ...)
  local words = pack(...)
  for i = 1, words.n do words[i] = tostring(words[i]) end
  return concat(words, separator)
end
local function logger(level, separator)
  return function(...) worker_log(level, joined(separator, ...)) end
end
G.print, G.warn = logger("info", "\t"), logger("warning", "")
G.log = raw_setmetatable({ debug = logger("debug", " "), info = logger("info", " "), warn = logger("warning", " "),
  error = logger("error", " ") }, { __call = function(_, ...) worker_log("info", joined(" ", ...)) end })

-- What is asked of the host beside devices.
local devices, device, device_of, no_device, Device = devices_of(host, refuse, misuse)
G.sleep = function(seconds) host("sleep", seconds) end
G.publish = function(topic, value) host("publish", topic, value) end
G.time = function() return host("time") end
G.format = format
G.ygg = { devices = devices, device = device, sleep = G.sleep, publish = G.publish, time = G.time, log = G.log }
local function guarded(f)
  return function(v)
    local ok, result = pcall(f, v)
    if not ok then error(result, 2) end
    return result
  end
end
G.json = { encode = guarded(json.encode), decode = guarded(json.decode), array = json.list, null = json.null }

local live = live_of(G, host, refuse, misuse, Device)

-- read_temp0_celsius() and set_led0(true) of the default device.
local function of_device(globals, name)
  if type(name) == "string" and (match(name, "^read_") or match(name, "^set_")) then
    return function(...) return globals.device[name](...) end
  end
end
raw_setmetatable(G, { __index = of_device })
local packages = packages_of(G, of_device, refuse, misuse)

-- Running. `label` is the script's name as it stands in messages.
local label

local function file_of(source)
  if source == "@" .. label then return label end
  for _, package in ipairs(packages.linked) do
    if source == "@" .. package.label then return package.label end
  end
end

-- The innermost line of the script itself, the traceback, and the place in a package where it is one that failed.
local function frames()
  local lines, first, place = {}, 0, nil
  for level = 0, 40 do
    local info = getinfo(main, level, "Sln")
    if not info then break end
    local file = file_of(info.source)
    if file and info.currentline > 0 then
      if file == label and first == 0 then first = info.currentline end
      if file ~= label and #lines == 0 then place = format("%s:%d: ", file, info.currentline) end
      local where = info.name and format("in %s", info.name) or info.what == "main" and "in the script" or "in a function"
      lines[#lines + 1] = format("%s:%d: %s", file, info.currentline, where)
    end
  end
  return first, concat(lines, "\n"), place or ""
end

local function failure(reason, message, line, trace, extra)
  local fields = extra or {}
  fields.reason, fields.message, fields.line, fields.traceback = reason, message, line, trace
  return "fail", json.encode(fields)
end

local function located(text)
  if #text >= #label + 3 and sub(text, 1, #label + 1) == label .. ":" then
    local line, message = match(text, "^(%d+): (.*)$", #label + 2)
    if line then return tonumber(line), message end
  end
  return nil, text
end

local function readable(text)
  return utf8_len(text) and text or (gsub(text, "[\128-\255]", "?"))
end

local function failed(e)
  local line, trace, place = frames()
  if rawequal(e, STOPPED) then return failure("STOPPED", "stopped", line, trace) end
  if e == "not enough memory" then return failure("MEMORY", e, line, trace) end
  if errors[e] then
    return failure(e.reason, place .. readable(tostring(e.message)), line, trace, { status = e.status, hint = e.hint })
  end
  if type(e) == "table" and type(rawget(e, "message")) == "string" then e = place .. rawget(e, "message") end
  if type(e) ~= "string" and type(e) ~= "number" then e = format("an error that is a %s", type(e)) end
  local at, message = located(tostring(e))
  return failure("SCRIPT_ERROR", readable(message), at or line, trace)
end

local function step(answer)
  worker_settle()
  local results = pack(co_resume(main, answer))
  if not results[1] then return failed(results[2]) end
  if co_status(main) ~= "dead" then return "call", results[3] end
  local ok, value = pcall(json.encode_wire, results[2])
  if ok then return "done", value end
  if value == "not enough memory" then return failure("MEMORY", value, 0, "") end
  return failure("SCRIPT_ERROR", "the script returned what is not a value: " .. tostring(value), 0, "")
end

local function exhausted() -- after an error of step itself: there was no memory left even for that
  local line, trace = frames()
  return failure("MEMORY", "not enough memory", line, trace)
end

local function start(name, source, device_id, arguments)
  worker_settle()
  label = name
  local chunk, fault = raw_load(source, "@" .. name, "t")
  if not chunk then
    if fault == "not enough memory" then return failure("MEMORY", fault, 0, "") end
    local line, message = located(fault)
    return failure("SYNTAX", readable(message), line or 0, "")
  end
  G.args = json.decode_wire(arguments)
  G.device = device_id ~= "" and device_of(device_id) or no_device
  main = co_create(packages.before(chunk, G.device, G.args))
  sethook(main, function() error(STOPPED, 0) end, "", 1 << 30) -- the worker takes it out and puts it in to stop us
  return "thread", tostring(main)
end

-- A program that lives: many turns, each a coroutine of its own; `main` is the one that runs.
local turns, names_before = {}, {}
for name in next, G do names_before[name] = true end
names_before.args, names_before.device = true, true

local function evaluated(source)
  local chunk = raw_load("return " .. source, "=eval", "t")
  if chunk then return chunk end
  local found, fault = raw_load(source, "=eval", "t")
  return found, fault
end
local function globals(wanted)
  local found = {}
  for name, value in next, G do
    if type(name) == "string" and not names_before[name] and (#wanted == 0 or wanted[name]) then
      local entry = { name = name, type = type(value) }
      local ok, text = pcall(json.encode_wire, value)
      if type(value) ~= "function" and ok and #text <= 65536 then entry.value = json.list { value } end
      found[#found + 1] = entry
    end
  end
  return json.list(found)
end
local function body_of(what, key, payload)
  if what == "event" then
    local handler = live.handlers[key]
    if live.once[key] then live.handlers[key], live.once[key] = nil, nil end
    if not handler then return function() end end
    if payload == "" then return function() handler(nil) end end
    local value = json.decode_wire(payload)
    if value == json.null then value = nil end
    return function() handler(value) end
  elseif what == "eval" then
    return evaluated(key)
  elseif what == "globals" then
    local wanted = json.decode_wire(payload)
    for _, name in ipairs(wanted) do wanted[name] = true end
    return function() return globals(wanted) end
  end
  return function() -- set
    if names_before[key] or G[key] == nil then
      refuse("NO_SUCH_GLOBAL", "the program has defined no global " .. key)
    end
    local value = json.decode_wire(payload)
    if value == json.null then value = nil end
    G[key] = value
  end
end
local function begin(turn, what, key, payload)
  worker_settle()
  local chunk, fault = body_of(what, key, payload)
  if not chunk then return failure("SYNTAX", readable(tostring(fault)), 0, "") end
  main = co_create(chunk)
  turns[turn] = main
  sethook(main, function() error(STOPPED, 0) end, "", 1 << 30)
  return "thread", tostring(main)
end
local function first(turn, name, source, device_id, arguments)
  live.default = device_id
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

-- A package, compiled and not yet run; with an empty id it is said what the program itself may name.
local function link(id, file, source, uses)
  worker_settle()
  local known = {}
  for _, name in ipairs(json.decode_wire(uses)) do known[name] = true end
  if id == "" then
    packages.declare(known)
    return "done", "null"
  end
  local fault = packages.add(id, file, source, known)
  if not fault then return "done", "null" end
  label = file
  if fault == "not enough memory" then return failure("MEMORY", fault, 0, "") end
  return failure("SYNTAX", readable(fault), 0, "")
end

local function compact()
  raw_collect("incremental", 120, 200) -- thousands share a worker: memory is dearer than time
  raw_collect("collect")
end

return start, step, exhausted, first, begin, go_on, drop, compact, link
