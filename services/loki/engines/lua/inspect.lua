-- Queries to a living program: evaluate a text, show its globals, set one. Loaded when the
-- first is asked.
local inside = ...
local json, G, ours = inside.part("json"), inside.G, inside.names -- the names that it found there, between spaces
local type, next, ipairs, pcall, raw_load = type, next, ipairs, pcall, inside.load
local find = string.find

local M = {}
local function given(name) return find(ours, " " .. name .. " ", 1, true) ~= nil end

function M.evaluated(source)
  inside.note(source)
  local chunk = raw_load("return " .. source, "=eval", "t")
  if chunk then return chunk end
  local found, fault = raw_load(source, "=eval", "t")
  return found, fault
end
function M.globals(names)
  for _, name in ipairs(names) do names[name] = true end
  return function()
    local found = {}
    for name, value in next, G do
      if type(name) == "string" and not given(name) and (#names == 0 or names[name]) then
        local entry = { name = name, type = type(value) }
        local ok, text = pcall(json.encode_wire, value)
        if type(value) ~= "function" and ok and #text <= 65536 then entry.value = json.list { value } end
        found[#found + 1] = entry
      end
    end
    return json.list(found)
  end
end
function M.set(key, value)
  return function()
    if given(key) or G[key] == nil then inside.part("failures").refuse("NO_SUCH_GLOBAL", "the program has defined no global " .. key) end
    G[key] = value
  end
end
return M
