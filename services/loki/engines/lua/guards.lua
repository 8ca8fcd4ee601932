-- Functions that are kept within bounds and are seldom called. Loaded when the first is.
local inside = ...
local error, load, collectgarbage = error, inside.load, inside.collectgarbage

local M = {}
function M.load(chunk, name, _, ...) return load(chunk, name, "t", ...) end
function M.collectgarbage(option, ...)
  if option == nil or option == "collect" or option == "count" then return collectgarbage(option, ...) end
  error("collectgarbage knows 'collect' and 'count' here", 2)
end
function M.memory_info() return inside.host("memory", collectgarbage("count") * 1024 // 1 | 0) end
return M
