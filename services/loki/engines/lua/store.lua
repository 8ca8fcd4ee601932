-- The store of a program: store("key", value); store.load("key", default); store.delete("key"); store.keys().
-- Loaded when one but the first is used.
local inside = ...
local host, M = inside.host, {}

function M.load(key, otherwise)
  local found = host("load", key)
  if found[1] == nil then return otherwise end
  return found[1]
end
function M.save(key, value) host("store", key, value) end
function M.delete(key) return host("forget", key) end
function M.keys() return host("keys") end

return { members = function() return M end }
