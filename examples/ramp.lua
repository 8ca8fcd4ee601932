-- Raise the brightness of the LED in steps, then blink it.
-- Run:  ygg script run examples/ramp.lua --device porch-1 --arg steps=5 --arg seconds=0.2

local steps, seconds = args.steps or 4, args.seconds or 0.05

device.led0.on()
for i = 1, steps do
  device.led0.brightness(100 * i // steps)
  sleep(seconds)
end

local ok, e = pcall(device.led0.blink, { times = 3, period_ms = 10 }) -- the contract allows 50 ms or more
log.info("a blink of 10 ms: " .. (ok and "done" or e.reason .. ", " .. tostring(e)))
device.led0.blink{ times = 3, period_ms = 100 }

return "brightness " .. device.led0.brightness() .. " %, then 3 blinks"
