-- Regulate the temperature with a package:  ygg program load degrees.lua && ygg program deploy comfort.lua -d porch-1
-- @version 1.0.0
-- @depends degrees 1.0.0
-- @param every_s double=2.0 Seconds between readings.
-- @requires sensor.temperature@1+
-- @requires actuator.led@1+{on:bool rw}

local degrees = require("degrees")
local cold = degrees.switch(18, 22)

every("look", args.every_s, function()
  local celsius = device.temp0.celsius()
  fahrenheit = degrees.fahrenheit(celsius)
  set_led0(cold(celsius))
end)
