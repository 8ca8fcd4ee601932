-- Errors of members that do not exist or cannot be set. Loaded with the first.
local inside = ...
local next, type, tostring, rawget, rawset, setmetatable = next, type, tostring, rawget, rawset, setmetatable
local math_type = math.type
local format, match, concat, sort = string.format, string.match, table.concat, table.sort
local function failures() return inside.part("failures") end

local M = {}

local function literal(value)
  if type(value) == "string" then return format("%q", value) end
  return (type(value) == "number" or type(value) == "boolean") and tostring(value) or "value"
end

function M.names(t)
  local names = {}
  for name in next, t do names[#names + 1] = tostring(name) end
  sort(names)
  return concat(names, ", ")
end

function M.unknown(table_name, key, members)
  local hint = table_name == "store" and type(key) == "string" and format("A value is read with store.load(%q).", key) or ""
  failures().misuse(format("%s has no %s; it has %s", table_name, tostring(key), M.names(members)), hint)
end

local SET = { -- the call to use instead
  store = function(key, value)
    if value == nil then return format("Write store.delete(%q).", key) end
    return format("Write store(%q, %s).", key, literal(value))
  end,
  device = function() return "A property is written with device:write(\"CAPABILITY.PROPERTY\", value)." end,
}
function M.set(table_name, key, value)
  key = tostring(key)
  failures().misuse(format("%s.%s cannot be set with =", table_name, key), SET[table_name] and SET[table_name](key, value) or "")
end

-- The metatable of a host table with the members FOUND. Reading or setting an unknown member is an error: otherwise a script would
-- not notice a misspelt `store.load` or `store.x = 1`. Members may be replaced or removed.
function M.metatable(name, found, called)
  local gone = {} -- removed by the script
  setmetatable(found, { __index = function(_, key)
    if not gone[key] then inside.part("members").unknown(name, key, found) end
  end })
  return { __metatable = false, __index = found, __call = (name == "log" or name == "store") and called or nil,
    __newindex = function(_, key, value)
      if name == "store" or rawget(found, key) == nil and not gone[key] then inside.part("members").set(name, key, value) end
      gone[key] = value == nil or nil
      rawset(found, key, value)
    end,
    __pairs = function() return next, found, nil end }
end

-- Raises the error of setting a member of a capability: path as in led0.brightness; kind is nil if it is unknown.
function M.set_member(path, kind, value)
  local hint = kind == "a property" and format("Write device.%s(%s).", path, literal(value)) or ""
  failures().misuse(format("%s is %s; it cannot be set with =", path, kind), hint)
end

-- Why a table with the key K, which is not a string, is neither a list nor a map.
function M.odd_key(t, k)
  if math_type(k) ~= "integer" or k < 1 then
    return format("a table has a key that is %s; the keys of a map are strings, those of a list 1, 2, 3 and so on",
      math_type(k) and tostring(k) or "a " .. type(k))
  end
  local hole, beyond, name = 1, nil, nil
  while rawget(t, hole) ~= nil do hole = hole + 1 end
  for key in next, t do
    if math_type(key) == "integer" and key > hole then beyond = beyond and beyond < key and beyond or key end
    if type(key) == "string" and not (name and name < key) then name = key end
  end
  if beyond then return format("a list has [%d] but not [%d]; fill the gap with json.null, or use strings as keys", beyond, hole) end
  return format("a table has [%d] and %s; it is a list or a map, not both", k, name or "other keys")
end

-- Hints for errors of Lua, by message; "" for none.
local HINTS = {
  { "^syntax error near '%+'", "Lua has no ++ and no +=: write x = x + 1." },
  { "'then' expected near '='", "A comparison is written ==." },
  { "near '!'", "Not is written not, and not equal ~=." },
  { "near '[&|]'", "The words are and, or, not." },
  { "^syntax error near", "A statement is an assignment or a call; a function is called with ()." },
  { "^unfinished string", "A text ends on its line, with the quote that it began with." },
  { "for iterator 'for iterator'", "Counting is written for i = 1, 10 do; the entries of a table come from pairs(t) and ipairs(t)." },
  { "to 'for iterator' %(table expected", "The table to iterate over is nil; use ipairs(t or {})." },
  { "%(global '(%a+)'%)", "Scripts have no files, no processes and no modules.", "io debug package dofile loadfile" },
  { "%(field 'execute'%)", "Scripts have no processes." },
}
-- A raised value that is no text, in words.
function M.raised(e)
  local message = type(e) == "table" and rawget(e, "message")
  if type(message) == "string" then return message end
  if e == nil then return "an error without a message: error(nil)" end
  return inside.part("printing").shown(e)
end
function M.hint(message)
  for i = 1, #HINTS do
    local found = match(message, HINTS[i][1])
    local names = HINTS[i][3]
    if found and (not names or match(" " .. names .. " ", " " .. found .. " ")) then return HINTS[i][2] end
  end
  return ""
end

return M
