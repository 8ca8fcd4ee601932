-- Functions that are kept within bounds and are seldom called. Loaded when the first is.
local inside = ...
local error, type, pcall, concat, load, collectgarbage = error, type, pcall, table.concat, inside.load, inside.collectgarbage
local gsub, setmetatable, xpcall = string.gsub, setmetatable, inside.xpcall

local M = {}
-- An error of a builtin that is called from here, as if the script itself had called it: with its name and its line.
local function relayed(name, ok, ...)
  if ok then return ... end
  local e = ...
  if type(e) ~= "string" or e == "not enough memory" then error(e, 0) end
  error(gsub(e, "^(bad argument #%d+ to )'[^']*'", "%1'" .. name .. "'"), 2)
end
M.relayed = relayed
function M.setmetatable(...) return relayed("setmetatable", pcall(setmetatable, ...)) end
function M.xpcall(...) return relayed("xpcall", pcall(xpcall, ...)) end
local function pieces_of(reader) -- here, so that the reader may ask the host
  local pieces = {}
  while true do
    local piece = reader()
    if piece == nil or piece == "" then return concat(pieces) end
    if type(piece) ~= "string" then error("reader function must return a string", 0) end
    pieces[#pieces + 1] = piece
  end
end
function M.load(chunk, name, _, ...)
  if type(chunk) == "function" then
    local ok, text = pcall(pieces_of, chunk)
    if not ok then return nil, text end
    chunk, name = text, name == nil and "=(load)" or name
  end
  if type(chunk) ~= "string" then return relayed("load", pcall(load, chunk)) end
  inside.note(chunk)
  return relayed("load", pcall(load, chunk, name, "t", ...))
end
function M.collectgarbage(option, ...)
  if option == nil or option == "collect" or option == "count" then return collectgarbage(option, ...) end
  error("collectgarbage knows 'collect' and 'count' here", 2)
end
function M.memory_info() return inside.host("memory", collectgarbage("count") * 1024 // 1 | 0) end
return M
