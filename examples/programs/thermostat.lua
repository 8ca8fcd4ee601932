-- Heat a room: the heater (here the LED) is on below the target and off above it, with a hysteresis of 0.5 °C each way.
-- The target can be changed while it runs:  ygg program globals thermostat target=22
-- @version 1.0.0
-- @param target double=20.0 Target temperature in °C.
-- @param every_s double=2.0 Seconds between readings.
-- @requires sensor.temperature@1+
-- @requires actuator.led@1+{on:bool rw}

target = store.load("target", args.target)
heating = device.led0.state()

every("regulate", args.every_s, function()
  if target ~= store.load("target") then store("target", target) end
  local celsius = device.temp0.celsius()
  if celsius < target - 0.5 and not heating then
    device.led0.on()
    heating = true
  elseif celsius > target + 0.5 and heating then
    device.led0.off()
    heating = false
  end
end)
