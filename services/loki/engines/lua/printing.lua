-- The log, as scripts write it, and values in words. Loaded with the first line.
local inside = ...
local worker_log, metatable_of, tostring, type, rawget, next = inside.log, inside.metatable_of, tostring, type, rawget, next
local format, find, pack, concat, sort, math_type = string.format, string.find, table.pack, table.concat, table.sort, math.type

local MAX_DEPTH, MAX_ENTRIES = 4, 50
local M = {}

-- Formats a value for people: a table by its entries instead of its address, without the script's metamethods.
local function shown(v, depth)
  local kind = type(v)
  if kind == "string" then return depth == 0 and v or format("%q", v) end
  if kind == "number" or kind == "boolean" or kind == "nil" then return tostring(v) end
  if kind ~= "table" then return kind end
  if inside.ids[v] then return "device " .. inside.ids[v] end
  if v == inside.null then return "null" end
  if inside.errors and inside.errors[v] then return tostring(rawget(v, "message")) end
  if depth >= MAX_DEPTH then return "{...}" end
  local keys, out, n = {}, {}, 0
  while rawget(v, n + 1) ~= nil and n < MAX_ENTRIES do
    n = n + 1
    out[n] = shown(rawget(v, n), depth + 1)
  end
  local more = rawget(v, n + 1) ~= nil
  for key in next, v do
    if not (math_type(key) == "integer" and key >= 1 and key <= n) then keys[#keys + 1] = key end
    if #keys > MAX_ENTRIES then break end
  end
  sort(keys, function(a, b) return shown(a, 1) < shown(b, 1) end)
  for i = 1, #keys do
    if #out >= MAX_ENTRIES then more = true break end
    local key = keys[i]
    local name = type(key) == "string" and find(key, "^[%a_][%w_]*$") and key or format("[%s]", shown(key, depth + 1))
    out[#out + 1] = name .. " = " .. shown(rawget(v, key), depth + 1)
  end
  if more then out[#out + 1] = "..." end
  return "{" .. concat(out, ", ") .. "}"
end
function M.shown(v) return shown(v, 0) end

-- As M.shown, or the result of the script's own __tostring.
local function printed(v)
  if type(v) == "string" then return v end
  local mt = type(v) == "table" and metatable_of(v)
  if mt and rawget(mt, "__tostring") then return tostring(v) end
  return shown(v, 0)
end
local function logger(level, separator)
  return function(...)
    local words = pack(...)
    for i = 1, words.n do words[i] = printed(words[i]) end
    worker_log(level, concat(words, separator))
  end
end
M.print, M.warn, M.info = logger("info", "\t"), logger("warning", ""), logger("info", " ")
function M.members()
  return { debug = logger("debug", " "), info = M.info, warn = logger("warning", " "), error = logger("error", " ") }
end
return M
