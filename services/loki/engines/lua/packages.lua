-- What a program is linked with: `local units = require("units")`. Each package runs once, before the program, in an environment
-- of its own with the same host API; `require` gives what it returned. Which names `require` knows is the manifest's to say.
local load, next, ipairs, setmetatable, type, format = load, next, ipairs, setmetatable, type, string.format

return function(G, host_api, refuse, misuse)
  local linked, made = {}, {} -- in the order in which they run; by id

  local function requirer(uses)
    return function(id)
      if type(id) ~= "string" then misuse("a package is named by a string, such as require(\"units\")") end
      local package = uses[id] and made[id]
      if not package then
        refuse("NOT_DECLARED", format("no package %s is declared", id),
          format("Write  -- @depends %s VERSION  at the top of the program; a script that runs once has no packages.", id))
      end
      return package.value
    end
  end

  -- A copy of what is there before the program: what it does to its own globals is not seen by its packages.
  local function environment(uses)
    local env, load_in = {}, G.load
    for name, value in next, G do env[name] = value end
    env._G, env.require = env, requirer(uses)
    env.load = function(chunk, name, mode, ...)
      if ... == nil then return load_in(chunk, name, mode, env) end
      return load_in(chunk, name, mode, ...)
    end
    return setmetatable(env, { __index = host_api, __metatable = false })
  end

  local packages = { linked = linked }
  function packages.add(id, label, source, uses)
    local env = environment(uses)
    local chunk, fault = load(source, "@" .. label, "t", env)
    if not chunk then return fault end
    made[id] = { label = label, chunk = chunk, env = env }
    linked[#linked + 1] = made[id]
  end
  function packages.declare(uses) G.require = requirer(uses) end
  -- The program's chunk, with what has to run before it.
  function packages.before(chunk, device, args)
    if #linked == 0 then return chunk end
    return function(...)
      for _, package in ipairs(linked) do
        package.env.device, package.env.args = device, args
        local value = package.chunk()
        if value == nil then value = true end -- as Lua's own require
        package.value = value
      end
      return chunk(...)
    end
  end
  packages.declare({})
  return packages
end
