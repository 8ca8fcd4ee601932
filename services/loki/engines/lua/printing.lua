-- The log, as scripts write it. Loaded with the first line.
local inside = ...
local worker_log, tostring, pack, concat = inside.log, tostring, table.pack, table.concat

local function logger(level, separator)
  return function(...)
    local words = pack(...)
    for i = 1, words.n do words[i] = tostring(words[i]) end
    worker_log(level, concat(words, separator))
  end
end
local M = { print = logger("info", "\t"), warn = logger("warning", ""), info = logger("info", " ") }
function M.members()
  return { debug = logger("debug", " "), info = M.info, warn = logger("warning", " "), error = logger("error", " ") }
end
return M
