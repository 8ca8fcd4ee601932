-- JSON for scripts, and the values of the wire (services/loki/engines/wire.py) for the prelude.
-- Uses raw access only: a script's metamethods never run inside it. RFC 8259.
local inside = ...
local type, next, rawget, rawlen, tostring, tonumber = type, next, rawget, rawlen, tostring, tonumber
local error, pcall, select, setmetatable = error, pcall, select, setmetatable
local format, find, sub, byte, char, gsub = string.format, string.find, string.sub, string.byte, string.char, string.gsub
local concat, math_type, utf8_len, utf8_char = table.concat, math.type, utf8.len, utf8.char
local huge = math.huge

local MAX_DEPTH, MAX_DIGITS = 64, 400
inside.null = inside.null or setmetatable({}, { __name = "json.null", __tostring = function() return "null" end,
  __newindex = function() error("json.null cannot be changed", 2) end, __metatable = false })
inside.lists = inside.lists or setmetatable({}, { __mode = "k" })
local null, lists = inside.null, inside.lists -- tables known to be lists, so that an empty list stays one

local function fault(...) error(format(...), 0) end

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r",
  ["\t"] = "\\t" }
local function escape(c) return ESCAPES[c] or format("\\u%04x", byte(c)) end
local function quoted(s) return '"' .. gsub(s, '[%c"\\]', escape) .. '"' end

local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local function base64(s)
  local out, n = {}, 0
  for i = 1, #s, 3 do
    local a, b, c = byte(s, i, i + 2)
    local bits = a << 16 | (b or 0) << 8 | (c or 0)
    n = n + 1
    local quad = {}
    for k = 0, 3 do
      local d = bits >> (18 - 6 * k) & 63
      quad[k + 1] = sub(ALPHABET, d + 1, d + 1)
    end
    if not b then quad[3] = "=" end
    if not c then quad[4] = "=" end
    out[n] = concat(quad)
  end
  return concat(out)
end
local VALUES = {}
for i = 1, 64 do VALUES[byte(ALPHABET, i)] = i - 1 end
local function unbase64(s)
  local out = {}
  for i = 1, #s, 4 do
    local a, b, c, d = byte(s, i, i + 3)
    local bits = VALUES[a] << 18 | VALUES[b] << 12 | (VALUES[c] or 0) << 6 | (VALUES[d] or 0)
    local three = char(bits >> 16 & 255, bits >> 8 & 255, bits & 255)
    out[#out + 1] = VALUES[d] and three or VALUES[c] and sub(three, 1, 2) or sub(three, 1, 1)
  end
  return concat(out)
end

local function number(x, wire)
  if math_type(x) == "integer" then return format("%d", x) end
  if x ~= x or x == huge or x == -huge then
    if not wire then fault("JSON has no %s", x ~= x and "NaN" or "infinity") end
    return x ~= x and "NaN" or x > 0 and "Infinity" or "-Infinity"
  end
  for digits = 15, 17 do
    local text = format("%." .. digits .. "g", x)
    if tonumber(text) == x then return find(text, "[.e]") and text or text .. ".0" end
  end
end

-- A list is a table made by json.list, or one with exactly the keys 1 to n, n > 0.
local function is_list(t)
  if lists[t] then return true end
  local n = rawlen(t)
  if n == 0 then return false end
  local count = 0
  for _ in next, t do count = count + 1 end
  return count == n
end

local function list(t) t = t or {} lists[t] = true return t end

local encode

local function encode_table(t, wire, open, depth)
  if open[t] then fault("a table contains itself") end
  if depth > MAX_DEPTH then fault("nested deeper than %d", MAX_DEPTH) end
  open[t] = true
  local out, n = {}, 0
  local text
  if is_list(t) then
    for i = 1, rawlen(t) do out[i] = encode(rawget(t, i), wire, open, depth) end
    text = "[" .. concat(out, ",") .. "]"
  else
    for k, v in next, t do
      if type(k) ~= "string" then fault("%s", inside.part("members").odd_key(t, k)) end
      if not utf8_len(k) then fault("a key is not UTF-8") end
      n = n + 1
      out[n] = quoted(k) .. ":" .. encode(v, wire, open, depth)
    end
    text = "{" .. concat(out, ",") .. "}"
    if wire then text = '{"m":' .. text .. "}" end
  end
  open[t] = nil
  return text
end

function encode(v, wire, open, depth)
  local kind = type(v)
  if v == nil or v == null then return "null" end
  if kind == "boolean" then return v and "true" or "false" end
  if kind == "number" then return number(v, wire) end
  if kind == "string" then
    if utf8_len(v) then return quoted(v) end
    if not wire then fault("a string is not UTF-8, and JSON is") end
    return '{"b":"' .. base64(v) .. '"}'
  end
  if kind == "table" then return encode_table(v, wire, open, depth + 1) end
  fault("a %s has no JSON%s", kind, kind == "function" and "; a function is called with ()" or "")
end

-- An error names its path in the value, which is searched only then.
local function place_of(v, wire, seen)
  if type(v) ~= "table" or seen[v] then return "" end
  seen[v] = true
  for k, item in next, v do
    if (type(k) == "string" or math_type(k) == "integer") and not pcall(encode, item, wire, {}, 0) then
      return (type(k) == "string" and "." .. k or "[" .. k .. "]") .. place_of(item, wire, seen)
    end
  end
  return ""
end
local function encoded(v, wire, is_request) -- of a request the list of arguments is ours, not the script's
  local ok, text = pcall(encode, v, wire, {}, 0)
  if ok then return text end
  if type(text) == "string" and text ~= "not enough memory" then
    local place = place_of(v, wire, {})
    if is_request then place = gsub(place, "^%[%d+%]", "") end
    if place ~= "" then text = "in " .. sub(place, 1, 200) .. ": " .. text end
  end
  error(text, 0)
end

local decode_value
local UNESCAPES = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ['"'] = '"', ["\\"] = "\\", ["/"] = "/" }

local function bad(s, at, what)
  local _, lines = gsub(sub(s, 1, at - 1), "\n", "")
  fault("not JSON, line %d, byte %d: %s", lines + 1, at, what)
end

local function decode_escape(s, at)
  local c = sub(s, at, at)
  if UNESCAPES[c] then return UNESCAPES[c], at + 1 end
  local hex = c == "u" and select(3, find(s, "^(%x%x%x%x)", at + 1))
  if not hex then bad(s, at, "an invalid escape") end
  local code, after = tonumber(hex, 16), at + 5
  if code >= 0xD800 and code < 0xDC00 then
    local low = select(3, find(s, "^\\u([dD][c-fC-F]%x%x)", after))
    if low then
      code, after = 0x10000 + ((code - 0xD800) << 10) + (tonumber(low, 16) - 0xDC00), after + 6
    else
      code = 0xFFFD
    end
  elseif code >= 0xDC00 and code < 0xE000 then
    code = 0xFFFD
  end
  return utf8_char(code), after
end

local function decode_string(s, at)
  local out, n = {}, 0
  at = at + 1
  while true do
    local stop = find(s, '["\\\0-\31]', at)
    if not stop then bad(s, #s + 1, "a string without an end") end
    n = n + 1
    out[n] = sub(s, at, stop - 1)
    local c = byte(s, stop)
    if c == 34 then return concat(out), stop + 1 end
    if c ~= 92 then bad(s, stop, "a control character in a string") end
    n = n + 1
    out[n], at = decode_escape(s, stop + 1)
  end
end

local function skip(s, at) return find(s, "[^ \t\r\n]", at) or #s + 1 end

local function decode_list(s, at, wire, depth)
  local out, n = {}, 0
  at = skip(s, at + 1)
  if sub(s, at, at) == "]" then lists[out] = true return out, at + 1 end
  while true do
    n = n + 1
    local value
    value, at = decode_value(s, at, wire, depth)
    if value == nil then value = null end
    out[n] = value
    at = skip(s, at)
    local c = sub(s, at, at)
    if c == "]" then lists[out] = true return out, at + 1 end
    if c ~= "," then bad(s, at, "a comma or ] is missing") end
    at = at + 1
  end
end

local function decode_map(s, at, wire, depth)
  local out = {}
  at = skip(s, at + 1)
  if sub(s, at, at) == "}" then return out, at + 1 end
  while true do
    at = skip(s, at)
    if sub(s, at, at) ~= '"' then bad(s, at, "a key in quotes is missing") end
    local key
    key, at = decode_string(s, at)
    at = skip(s, at)
    if sub(s, at, at) ~= ":" then bad(s, at, "a colon is missing") end
    out[key], at = decode_value(s, at + 1, wire, depth)
    at = skip(s, at)
    local c = sub(s, at, at)
    if c == "}" then return out, at + 1 end
    if c ~= "," then bad(s, at, "a comma or } is missing") end
    at = at + 1
  end
end

local function decode_tagged(s, at, wire, depth)
  local tag, value = sub(s, at, at + 4), nil
  if tag == '{"m":' then
    value, at = decode_map(s, at + 5, wire, depth)
  elseif tag == '{"b":' then
    value, at = decode_string(s, at + 5)
    value = unbase64(value)
  else
    bad(s, at, "neither bytes nor a map")
  end
  return value, at + 1
end

local WORDS = { { "true", true }, { "false", false }, { "null", nil } }
local WIRE_WORDS = { { "NaN", 0 / 0 }, { "Infinity", huge }, { "-Infinity", -huge } }

local function decode_word(s, at, words)
  for i = 1, #words do
    local word = words[i][1]
    if sub(s, at, at + #word - 1) == word then return true, words[i][2], at + #word end
  end
end

local function decode_number(s, at)
  local _, stop = find(s, "^-?%d+", at)
  if not stop or find(s, "^-?0%d", at) then bad(s, at, "a value is missing") end
  local _, fraction = find(s, "^%.%d+", stop + 1)
  stop = fraction or stop
  local _, exponent = find(s, "^[eE][+-]?%d+", stop + 1)
  stop = exponent or stop
  if stop - at >= MAX_DIGITS then bad(s, at, "a number with too many digits") end
  local value = tonumber(sub(s, at, stop))
  if value == huge or value == -huge then bad(s, at, "a number out of the range of a double") end
  return value, stop + 1
end

function decode_value(s, at, wire, depth)
  if depth > MAX_DEPTH then bad(s, at, "nested deeper than " .. MAX_DEPTH) end
  at = skip(s, at)
  local c = byte(s, at)
  if c == 34 then return decode_string(s, at) end
  if c == 91 then return decode_list(s, at, wire, depth + 1) end
  if c == 123 then return (wire and decode_tagged or decode_map)(s, at, wire, depth + 1) end
  local found, word, after = decode_word(s, at, WORDS)
  if not found and wire then found, word, after = decode_word(s, at, WIRE_WORDS) end
  if found then
    if word == nil and not wire then word = null end
    return word, after
  end
  return decode_number(s, at)
end

local function decode(s, wire)
  local value, at = decode_value(s, 1, wire, 0)
  at = skip(s, at)
  if at <= #s then bad(s, at, "more text after the value") end
  return value
end

local function script_encode(v)
  local ok, text = pcall(encoded, v, false)
  if not ok then error(text, 2) end
  return text
end
local function script_decode(s)
  if type(s) ~= "string" then error("json.decode takes a string, not a " .. type(s), 2) end
  local ok, value = pcall(decode, s, false)
  if not ok then error(value, 2) end
  return value
end

return {
  null = null, list = list,
  encode = function(v) return encode(v, false, {}, 0) end,
  encode_wire = function(v) return encoded(v, true) end,
  encode_request = function(arguments) return encoded(list(arguments), true, true) end,
  decode_wire = function(s) return decode(s, true) end,
  members = function() -- what scripts see
    return { encode = script_encode, decode = script_decode, array = list, null = null }
  end,
}
