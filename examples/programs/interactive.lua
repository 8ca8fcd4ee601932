-- A program to call:  ygg program eval interactive 'greet("Ada")'   ygg program eval interactive 'set("brightness", 40)'
-- Its guests are kept in the store, so they survive a restart.
-- @version 1.0.0
-- @requires actuator.led@1+

guests = store.load("guests", {})

function greet(name)
  guests[name] = (guests[name] or 0) + 1
  store("guests", guests)
  emit("greeted", name)
  return "hello " .. name .. ", visit " .. guests[name]
end
function set(property, value)
  device:write("led0." .. property, value)
  return device:read("led0." .. property)
end

on("greeted", function(name) log(name, "was here") end)
