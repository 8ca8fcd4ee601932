-- What programs have beside scripts: timers, schedules, handlers, own events, messages, a store, twins.
-- Handlers are kept here by key ("timer:tick", "event:porch-1/temp0.over", "message:alarm", "own:cooled"); the host is told
-- what to send. In a script that is only executed the host refuses all but twins. docs/SCRIPTING.md has the table.
local type, pcall, error, match, tostring = type, pcall, error, string.match, tostring

return function(G, host, refuse, misuse, Device)
  local live = { handlers = {}, once = {}, default = "" }
  local handlers, once = live.handlers, live.once

  -- The handler is there before the host knows: what is due at once may come while we still wait for its answer.
  local function register(key, f, is_once, ...)
    if type(f) ~= "function" then misuse("a handler is a function, not a " .. type(f)) end
    local before, before_once = handlers[key], once[key]
    handlers[key], once[key] = f, is_once or nil
    local ok, e = pcall(host, ...)
    if not ok then
      handlers[key], once[key] = before, before_once
      error(e, 0)
    end
  end
  local function named(name, what)
    if type(name) ~= "string" then misuse("a " .. what .. " is named by a string, not by a " .. type(name)) end
    return name
  end

  function G.after(name, seconds, f) register("timer:" .. named(name, "timer"), f, true, "timer", "after", name, seconds) end
  function G.every(name, seconds, f) register("timer:" .. named(name, "timer"), f, false, "timer", "every", name, seconds) end
  function G.cron(name, schedule, f) register("timer:" .. named(name, "timer"), f, false, "timer", "cron", name, schedule) end
  function G.cancel(name)
    local was = host("cancel", named(name, "timer"))
    if was then handlers["timer:" .. name] = nil end
    return was
  end

  local function on_device(id, path, f)
    if path == "online" or path == "offline" then return register("event:" .. id .. "/" .. path, f, false, "listen", id, "", path) end
    local capability, name = match(named(path, "event"), "^([^.]+)%.([^.]+)$")
    if not capability then misuse("an event is named CAPABILITY.NAME, such as temp0.over") end
    register("event:" .. id .. "/" .. path, f, false, "listen", id, capability, name)
  end
  function Device:on(path, f) on_device(self.id, path, f) end
  function Device:twin() return host("twin", self.id) end
  function Device:twin_update(document) return host("twin_update", self.id, document) end
  local function default()
    if live.default == "" then refuse("NO_DEVICE", "this program has no default device", "Use ygg.device(\"ID\"):on(...).") end
    return live.default
  end
  function G.on(path, f) -- an event of the default device has a dot in its name, an own event has none
    if match(named(path, "event"), "%.") or path == "online" or path == "offline" then return on_device(default(), path, f) end
    register("own:" .. path, f, false, "own", path)
  end
  function G.emit(name, value) host("emit", named(name, "event"), value) end
  function G.subscribe(topic, f) register("message:" .. named(topic, "topic"), f, false, "subscribe", topic) end

  -- store("key", value); store.load("key", default); store.delete("key"); store.keys()
  local store = {}
  function store.load(key, otherwise)
    local found = host("load", key)
    if found[1] == nil then return otherwise end
    return found[1]
  end
  function store.save(key, value) host("store", key, value) end
  function store.delete(key) return host("forget", key) end
  function store.keys() return host("keys") end
  G.store = G.setmetatable(store, { __call = function(_, key, value) host("store", key, value) end, __metatable = false })

  function G.uptime() return host("uptime") end
  function G.memory_info() return host("memory", G.collectgarbage("count") * 1024 // 1 | 0) end

  local ygg = G.ygg
  for _, name in G.ipairs { "after", "every", "cron", "cancel", "on", "emit", "subscribe", "store", "uptime", "memory_info" } do
    ygg[name] = G[name]
  end
  function ygg.on(path, f) -- of any device
    on_device("*", path, f)
  end
  return live
end
