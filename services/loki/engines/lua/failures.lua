-- How what went wrong is reported: errors of the host as scripts catch them, and the failure that a turn ends in.
-- Loaded before the script and needs no other part: what reports that memory ran out must not have to be loaded then.
-- A failure is "fail" and its reason, message, line, traceback, status and hint; the worker makes JSON of it.
local inside = ...
local STOPPED, getinfo = inside.STOPPED, inside.getinfo
local type, tostring, tonumber, error, ipairs, pcall = type, tostring, tonumber, error, ipairs, pcall
local rawget, rawequal, raw_setmetatable, pack, unpack = rawget, rawequal, setmetatable, table.pack, table.unpack
local format, match, sub, gsub, utf8_len, concat = string.format, string.match, string.sub, string.gsub, utf8.len, table.concat

local M = {}
local MAX_MESSAGE_BYTES = 4096 -- more than the service shows; a script's message may be of any length

-- Errors of the host: tables with status, reason, message and hint that read as their message.
inside.errors = inside.errors or raw_setmetatable({}, { __mode = "k" })
local errors = inside.errors
local function said(e) return errors[e] and tostring(rawget(e, "message")) or e end
local ERROR = { __name = "ygg.error", __tostring = said, __metatable = false,
  __concat = function(a, b) return said(a) .. said(b) end }
function M.host_error(fields)
  local e = raw_setmetatable(fields, ERROR)
  errors[e] = true
  return e
end
function M.refuse(reason, message, hint)
  error(M.host_error { status = "FAILED_PRECONDITION", reason = reason, message = message, hint = hint or "" }, 0)
end
function M.misuse(message, hint)
  error(M.host_error { status = "INVALID_ARGUMENT", reason = "INVALID_REQUEST", message = message, hint = hint or "" }, 0)
end

function M.no_device()
  M.refuse("NO_DEVICE", "this script has no default device", "Run it with --device ID, or use ygg.device(\"ID\").")
end

local function file_of(source, label)
  if source == "@" .. label then return label end
  for _, package in ipairs(inside.linked or {}) do
    if source == "@" .. package.label then return package.label end
  end
end

-- The innermost line of the script, the traceback, and the place in a package if a package failed. `label`
-- is the script's name as it stands in messages, `main` the thread that failed.
local function frames(label, main)
  local lines, first, place = {}, 0, ""
  for level = 0, 40 do
    local info = getinfo(main, level, "Sln")
    if not info then break end
    local file = file_of(info.source, label)
    if file and info.currentline > 0 then
      if file == label and first == 0 then first = info.currentline end
      if file ~= label and #lines == 0 then place = format("%s:%d: ", file, info.currentline) end
      local where = info.name and format("in %s", info.name) or info.what == "main" and "in the script" or "in a function"
      lines[#lines + 1] = format("%s:%d: %s", file, info.currentline, where)
    end
  end
  return first, concat(lines, "\n"), place
end

local function failure(reason, message, line, trace, status, hint)
  return "fail", reason, message, line, trace, status or "", hint or ""
end
local function text_of(x) return type(x) == "string" and x or "" end -- raw: no code of the script runs here

local function located(label, text) -- the innermost place: coroutine.wrap puts another before it
  local line, message = nil, text
  while #message >= #label + 3 and sub(message, 1, #label + 1) == label .. ":" do
    local inner, rest = match(message, "^(%d+): (.*)$", #label + 2)
    if not inner then break end
    line, message = tonumber(inner), rest
  end
  return line, message
end

local function cut(text)
  if #text <= MAX_MESSAGE_BYTES then return text end
  local stop = MAX_MESSAGE_BYTES
  while stop > MAX_MESSAGE_BYTES - 4 and match(text, "^[\128-\191]", stop + 1) do stop = stop - 1 end
  return sub(text, 1, stop)
end
local function readable(text) -- UTF-8, and without the addresses that tostring gives
  text = gsub(cut(text), "(%a+): 0x%x+", "%1")
  return utf8_len(text) and text or (gsub(text, "[\128-\255]", "?"))
end
local function said_by(what, about) -- "" without memory to load the module that says it
  local ok, text = pcall(function() return inside.part("members")[what](about) end)
  return ok and text or ""
end

function M.place(label, thread) return pack(frames(label, thread)) end

function M.failed(e, label, at) -- `at` is the place
  local line, trace, place = unpack(at, 1, 3)
  if rawequal(e, STOPPED) then return failure("STOPPED", "stopped", line, trace) end
  if e == "not enough memory" then return failure("MEMORY", e, line, trace) end
  if errors[e] then
    local message = place .. readable(text_of(rawget(e, "message")))
    return failure(text_of(rawget(e, "reason")), message, line, trace, text_of(rawget(e, "status")), text_of(rawget(e, "hint")))
  end
  if type(e) ~= "string" and type(e) ~= "number" then e = place .. said_by("raised", e) end
  local at, message = located(label, cut(tostring(e)))
  message = readable(message)
  return failure("SCRIPT_ERROR", message, at or line, trace, "", said_by("hint", message))
end

function M.no_value(fault) -- its result cannot be sent
  if fault == "not enough memory" then return failure("MEMORY", fault, 0, "") end
  return failure("SCRIPT_ERROR", "the result of the script is not a value: " .. readable(tostring(fault)), 0, "")
end

function M.not_loaded(fault, label)
  if fault == "not enough memory" then return failure("MEMORY", fault, 0, "") end
  local line, message = located(label, cut(fault))
  message = readable(message)
  return failure("SYNTAX", message, line or 0, "", "", said_by("hint", message))
end

function M.not_evaluated(fault) return M.not_loaded(fault, "eval") end

function M.not_linked(fault)
  if fault == "not enough memory" then return failure("MEMORY", fault, 0, "") end
  return failure("SYNTAX", readable(fault), 0, "")
end

function M.exhausted(_, _, at) -- after an error of a step itself: there was no memory left even for that
  return failure("MEMORY", "not enough memory", at and at[1] or 0, at and at[2] or "")
end

return M
