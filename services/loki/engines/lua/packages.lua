-- Linked packages: `local units = require("units")`. Each package runs once, before the program, in a
-- separate environment with the same host API; `require` returns its result. The manifest
-- declares the names that `require` accepts. Loaded if there are packages, or at the first `require`.
local inside = ...
local G, load, next, ipairs, setmetatable, type, format = inside.G, inside.load, next, ipairs, setmetatable, type, string.format

local M = {}

local function requirer(uses)
  return function(id)
    if id == "ygg.testing" then return inside.part("testing") end -- for services/loki/scripts/harness.lua
    if type(id) ~= "string" then inside.part("failures").misuse("a package is named by a string, such as require(\"units\")") end
    local package = uses[id] and inside.packages[id]
    if not package then
      inside.part("failures").refuse("NOT_DECLARED", format("no package %s is declared", id),
        format("Write  -- @depends %s VERSION  at the top of the program; a script that runs once has no packages.", id))
    end
    return package.value
  end
end
M.require = requirer({})

-- A copy of the environment before the program: its packages do not see changes to its globals.
local function environment(uses)
  local env, load_in = {}, G.load
  for name, value in next, G do env[name] = value end
  env._G, env.require = env, requirer(uses)
  env.load = function(chunk, name, mode, ...)
    if ... == nil then return load_in(chunk, name, mode, env) end
    return load_in(chunk, name, mode, ...)
  end
  return setmetatable(env, { __index = inside.of_device, __metatable = false })
end

-- A package, compiled and not yet run; the empty id stands for the program and its declared names.
function M.link(id, file, source, uses)
  local known = {}
  for _, name in ipairs(inside.part("json").decode_wire(uses)) do known[name] = true end
  if id == "" then
    G.require = requirer(known)
    return "done", "null"
  end
  inside.note(source)
  local env = environment(known)
  local chunk, fault = load(source, "@" .. file, "t", env)
  if not chunk then return inside.part("failures").not_linked(fault) end
  inside.linked, inside.packages = inside.linked or {}, inside.packages or {} -- in the order in which they run; by id
  local package = { label = file, chunk = chunk, env = env }
  inside.linked[#inside.linked + 1], inside.packages[id] = package, package
  return "done", "null"
end

-- The program's chunk, with its packages.
function M.before(chunk, device, args)
  return function(...)
    for _, package in ipairs(inside.linked) do
      package.env.device, package.env.args = device, args
      local value = package.chunk()
      if value == nil then value = true end -- as Lua's own require
      package.value = value
    end
    return chunk(...)
  end
end

return M
