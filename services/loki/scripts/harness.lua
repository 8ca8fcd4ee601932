-- What tests have beside scripts: test, expect_equal, expect_true, expect_error, board, subject, advance, event, message, published,
-- reported. On a device time is real: only the fake board's can be moved. Stands before the tests on one line, so that their lines keep
-- their numbers. Results go out as messages, so that those of before a crash are known.
do
  local publish, pcall, error, type, tostring, load, pairs, json, args = publish, pcall, error, type, tostring, load, pairs, json, args
  local under_test = args.subject
  args.subject = nil
  local function same(a, b)
    if a == b then return true end
    if type(a) ~= "table" or type(b) ~= "table" then return false end
    for k, v in pairs(a) do if not same(v, b[k]) then return false end end
    for k in pairs(b) do if a[k] == nil then return false end end
    return true
  end
  local function shown(v)
    local ok, text = pcall(json.encode, v)
    return ok and text or tostring(v)
  end
  local testing = require("ygg.testing")
  local virtual = pcall(testing.begin)
  for _, name in pairs { "advance", "event", "message", "published", "reported" } do
    _G[name] = virtual and testing[name] or function() error("only on the fake board time can be moved, and events made", 2) end
  end
  if virtual then sleep = testing.advance end
  function test(name, body)
    if virtual then testing.begin() end
    local ok, e = pcall(body)
    publish("ygg_test", { name = tostring(name), passed = ok, message = ok and "" or tostring(e) })
  end
  function expect_equal(got, expected)
    if not same(got, expected) then error("got " .. shown(got) .. ", expected " .. shown(expected), 2) end
  end
  function expect_true(got)
    if not got then error("got " .. shown(got) .. ", expected a true value", 2) end
  end
  function expect_error(body, reason)
    local ok, e = pcall(body)
    if ok then error("no error was raised", 2) end
    local found = type(e) == "table" and e.reason or tostring(e)
    if reason and not found:find(reason, 1, true) then error("the error is " .. found .. ", expected " .. reason, 2) end
  end
  function board(path, value) publish("ygg_board", { path = path, value = value }) end
  function subject(given)
    local chunk, fault = load(under_test or "error('there is no script under test')", "=subject")
    if not chunk then error(fault, 2) end
    local before = _G.args
    _G.args = given or {}
    local ok, result = pcall(chunk)
    _G.args = before
    if not ok then error(result, 0) end
    if virtual then testing.advance(0) end
    return result
  end
end
