-- Watch a device: publish when it has been offline for too long, and when it is back.
-- @version 1.0.0
-- @param patience_s double=30.0 Seconds offline before the alarm.

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
