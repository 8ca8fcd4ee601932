-- Blink the LED for as long as it runs.
-- @version 1.0.0
-- @param period_s double=1.0 Time between two changes.
-- @requires actuator.led@1+

lit = false
changes = 0

every("blink", args.period_s, function()
  lit = not lit
  if lit then device.led0.on() else device.led0.off() end
  changes = changes + 1
end)
log("blinking every", args.period_s, "s")
