-- What calls a function of the script while it works, in Lua: C could not be suspended within that function, so it could not
-- ask the host. Loaded when the first is called with a function. Results are those of lstrlib.c; sort is a stable one.
local inside = ...
local relayed, type, error, pcall, tostring = inside.part("guards").relayed, type, error, pcall, tostring
local find, sub, format, concat, pack, unpack = string.find, string.sub, string.format, table.concat, table.pack, table.unpack
local raw_sort, raw_gsub, to_integer = table.sort, string.gsub, math.tointeger

local M = {}

local function merged(from, into, less, left, middle, right)
  local l, r = left, middle
  for k = left, right - 1 do
    if l < middle and (r >= right or not less(from[r], from[l])) then
      into[k], l = from[l], l + 1
    else
      into[k], r = from[r], r + 1
    end
  end
end
function M.sort(t, less)
  if type(less) ~= "function" or type(t) ~= "table" then return relayed("sort", pcall(raw_sort, t, less)) end
  local n, from, into, width = #t, {}, {}, 1
  for i = 1, n do from[i] = t[i] end
  while width < n do
    for left = 1, n, 2 * width do
      local middle, right = left + width, left + 2 * width
      merged(from, into, less, left, middle <= n and middle or n + 1, right <= n and right or n + 1)
    end
    from, into, width = into, from, 2 * width
  end
  for i = 1, n do t[i] = from[i] end
end

local function replacement(text, f, found, first, stop)
  local value
  if found.n > 3 then value = f(unpack(found, 4, found.n)) else value = f(sub(text, first, stop)) end
  if not value then return sub(text, first, stop) end
  if type(value) == "string" or type(value) == "number" then return value end
  return nil, type(value)
end
function M.gsub(text, pattern, f, most)
  if type(f) ~= "function" then return relayed("gsub", pcall(raw_gsub, text, pattern, f, most)) end
  local ok, e = pcall(raw_gsub, text, pattern, "", most ~= nil and most or 0) -- checks the arguments
  if not ok then return relayed("gsub", false, e) end
  text, pattern = tostring(text), tostring(pattern)
  local out, n, at, last = {}, 0, 1, nil
  most = most == nil and #text + 1 or to_integer(most) or most // 1
  while n < most do
    local found = pack(pcall(find, text, pattern, at))
    if not found[1] then return relayed("gsub", false, found[2]) end
    local first, stop = found[2], found[3]
    if not first then break end
    if stop + 1 == last then -- an empty match at the end of the previous one
      if at > #text then break end
      out[#out + 1], at, last = sub(text, at, at), at + 1, nil
    else
      local new, kind = replacement(text, f, found, first, stop)
      if kind then error(format("invalid replacement value (a %s)", kind), 2) end
      n = n + 1
      out[#out + 1], out[#out + 2] = sub(text, at, first - 1), new
      at, last = stop + 1, stop + 1
    end
    if sub(pattern, 1, 1) == "^" then break end
  end
  out[#out + 1] = sub(text, at)
  return concat(out), n
end

return M
