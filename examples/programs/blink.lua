-- Blink the LED while the program runs.
-- @version 1.0.0
-- @param period_s double=1.0 Seconds between changes of the LED.
-- @requires actuator.led@1+

lit = false
changes = 0

every("blink", args.period_s, function()
  lit = not lit
  if lit then device.led0.on() else device.led0.off() end
  changes = changes + 1
end)
log("blinking every", args.period_s, "s")
