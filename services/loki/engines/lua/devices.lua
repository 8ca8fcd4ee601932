-- Devices as Lua sees them: `device:read("temp0.celsius")`, `device.led0.blink{times = 3}`, `ygg.devices{...}`.
-- Builds on the host's operations only; docs/reference/scripting.md has the table. Loaded when the first is looked at.
local inside = ...
local host, device_of = inside.host, inside.device_of
local function refuse(...) inside.part("failures").refuse(...) end
local function misuse(...) inside.part("failures").misuse(...) end
local type, tostring, select, rawget, ipairs, next, raw_setmetatable = type, tostring, select, rawget, ipairs, next, setmetatable
local rawequal = rawequal
local format, match, concat, table_sort = string.format, string.match, table.concat, table.sort

local function member_of(path, what)
  if type(path) ~= "string" then misuse(format("%s %s is named by a string such as \"led0.on\", not by a %s", what == "action" and "an" or "a", what, type(path))) end
  local capability, member = match(path, "^([^.]+)%.([^.]+)$")
  if not capability then misuse(format("%q names no %s", path, what), "Write CAPABILITY.NAME, such as led0.on.") end
  return capability, member
end

local Device = {}
local function id_of(device, method)
  local id = inside.ids[device]
  if not id then misuse(format("%s is a method of a device, called without one", method), format("Write device:%s(...), with a colon.", method)) end
  if rawget(device, "id") ~= id then misuse("the id of a device cannot be changed", "Another device is ygg.device(\"ID\").") end
  return id
end
function Device:call(path, arguments)
  local id = id_of(self, "call")
  local capability, action = member_of(path, "action")
  if arguments ~= nil and type(arguments) ~= "table" then
    misuse("arguments are a table, such as {times = 3}, not a " .. type(arguments))
  end
  return host("call", id, capability, action, arguments or {}) or {}
end
function Device:read(path)
  local id = id_of(self, "read")
  return host("read", id, member_of(path, "property"))
end
function Device:write(path, value)
  local id = id_of(self, "write")
  local capability, property = member_of(path, "property")
  host("write", id, capability, property, value)
end
function Device:info() return host("device", id_of(self, "info")) end
function Device:sensors() return host("sensors", id_of(self, "sensors")) end

local contracts = {}
function Device:capabilities()
  local id = id_of(self, "capabilities")
  contracts[id] = contracts[id] or host("contract", id)
  return contracts[id]
end

-- device.led0.blink{times = 3}, device.temp0.celsius(), device.led0.brightness(40); an LED has on(), off(), state().
-- `kinds` says what each is; `it` is the table that stands for the capability.
local function bound(device, capability, it)
  local members, kinds = {}, {}
  local function add(name, kind, f)
    kinds[name] = kind
    members[name] = function(...)
      if rawequal((...), it) then
        local path = capability.id .. "." .. name
        misuse(format("%s is %s and not a method", path, kind), format("Write device.%s(...), with a dot.", path))
      end
      return f(...)
    end
  end
  for _, property in ipairs(capability.properties) do
    add(property.name, "a property", function(...)
      local path = capability.id .. "." .. property.name
      if select("#", ...) == 0 then return device:read(path) end
      return device:write(path, (...))
    end)
  end
  for _, action in ipairs(capability.actions) do
    add(action.name, "an action", function(arguments) return device:call(capability.id .. "." .. action.name, arguments) end)
  end
  if capability.type == "actuator.led" then
    add("on", "an operation of the LED", function() device:write(capability.id .. ".on", true) end)
    add("off", "an operation of the LED", function() device:write(capability.id .. ".on", false) end)
    add("state", "an operation of the LED", function() return device:read(capability.id .. ".on") end)
  end
  return members, kinds
end
local function unknown(where, name, one, names)
  table_sort(names)
  refuse("NOT_IN_CONTRACT", format("%s has no %s %s", where, one, tostring(name)), "It has " .. concat(names, ", ") .. ".")
end
local function listed(t)
  local names = {}
  for name in next, t do names[#names + 1] = name end
  table_sort(names)
  return names
end
local function proxy(device, id)
  local it, found, kinds = {}, nil, nil
  for _, capability in ipairs(device:capabilities()) do
    if capability.id == id then found, kinds = bound(device, capability, it) end
  end
  if not found then
    local names = {}
    for _, capability in ipairs(device:capabilities()) do names[#names + 1] = capability.id end
    unknown(device.id, id, "capability", names)
  end
  local where = id .. " of " .. device.id
  return raw_setmetatable(it, { __index = function(_, name)
    return found[name] or unknown(where, name, "member", listed(found))
  end, __newindex = function(_, name, value)
    if not found[name] then unknown(where, name, "member", listed(found)) end
    inside.part("members").set_member(id .. "." .. name, kinds[name], value)
  end, __name = "capability", __metatable = false })
end
-- device.read_temp0_celsius(), device.read_temp0(), device.set_led0(true), device.set_led0_brightness(40): names after the
-- contract. Where only the capability is named, the property is its only one, or one of the usual names.
local MAINS = { "on", "state", "value", "level" }
local function main_of(properties)
  if #properties == 1 then return properties[1] end
  for _, main in ipairs(MAINS) do
    for _, property in ipairs(properties) do if property.name == main then return property end end
  end
end
local function path_of(device, rest, key)
  for _, capability in ipairs(device:capabilities()) do
    local usable = {}
    for _, property in ipairs(capability.properties) do
      if property[key] then
        usable[#usable + 1] = property
        if rest == capability.id .. "_" .. property.name then return capability.id .. "." .. property.name end
      end
    end
    local main = rest == capability.id and main_of(usable)
    if main then return capability.id .. "." .. main.name end
  end
end
local function convenience(device, name)
  local verb, rest = match(name, "^(%l+)_(.+)$")
  if verb ~= "read" and verb ~= "set" then return nil end
  return function(first, ...)
    local path = path_of(device, rest, verb == "read" and "readable" or "writable")
    if not path then
      refuse("NOT_IN_CONTRACT", format("%s has no property to %s by the name %s", device.id, verb, name),
        "See device:capabilities().")
    end
    if verb == "read" then return device:read(path) end
    if first == device then first = ... end -- device:set_led0(true)
    device:write(path, first)
  end
end
local function member(self, name)
  return Device[name] or type(name) == "string" and convenience(self, name) or proxy(self, name)
end

local function devices(query)
  if query ~= nil and type(query) ~= "table" then misuse("ygg.devices takes a table, such as {has = \"actuator.led\"}") end
  local found = host("devices", query or {})
  for i, info in ipairs(found) do found[i] = device_of(info) end
  return found
end
local function device(id)
  if type(id) ~= "string" then misuse("a device is named by its id, such as ygg.device(\"porch-1\")") end
  return device_of { id = id }
end
function Device:on(path, f) inside.part("live").on_device(id_of(self, "on"), path, f) end
function Device:twin() return host("twin", id_of(self, "twin")) end
function Device:twin_update(document) return host("twin_update", id_of(self, "twin_update"), document) end

local function ygg()
  local found = { devices = devices, device = device }
  for name, member in next, inside.api do found[name] = member end
  function found.on(path, f) inside.part("live").on_device("*", path, f) end -- of any device
  return found
end
return { member = member, members = ygg }
