-- Watch a device: say so when it goes away, when it comes back, and when it stays away for too long.
-- @version 1.0.0
-- @param patience_s double=30.0 Away for longer than this is an alarm.

state = device:info().online and "online" or "offline"

local function missing()
  state = "missing"
  log.error(device.id .. " has been away for " .. args.patience_s .. " s")
  publish("missing", { device = device.id })
end

on("offline", function()
  state = "offline"
  after("patience", args.patience_s, missing)
end)
on("online", function()
  cancel("patience")
  if state == "missing" then publish("back", { device = device.id }) end
  state = "online"
end)
