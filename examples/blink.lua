-- Read the temperature, then switch the LED on, off and on again.
-- Run:  ygg script run examples/blink.lua --device porch-1

local celsius = device.temp0.celsius()
log.info(string.format("it is %.1f °C at %s", celsius, device.id))

local seen = {}
for _, switch in ipairs({ "on", "off", "on" }) do
  device.led0[switch]()
  seen[#seen + 1] = device.led0.state() and "on" or "off" -- the reported state, not the requested one
  sleep(args.seconds or 0)
end
return "led0 " .. table.concat(seen, " → ")
