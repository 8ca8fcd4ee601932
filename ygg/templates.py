"""The scripts that `ygg script new` writes: each runs as it stands, on any device or on none."""

LUA = """\
-- NAME: shows the device's sensors, and switches its LED if it has one.
-- Run:  ygg script run NAME.lua --device porch-1 --arg seconds=0.5
-- See:  `device` is the device of the run, `args` what was given by --arg, `ygg.devices{}` all there are.

local seconds = args.seconds or 0.2

for name, value in pairs(device:sensors()) do
  log.info(name .. " = " .. tostring(value))
end

for _, capability in ipairs(device:capabilities()) do
  if capability.type == "actuator.led" then
    local led = device[capability.id]
    led.on()
    sleep(seconds)
    led.off()
    return capability.id .. " was on for " .. seconds .. " s"
  end
end
return device.id .. " has no LED"
"""

SCHEME = ""

TEMPLATES = {"lua": (".lua", LUA), "scheme": (".scm", SCHEME)}
"""For each language: the file's suffix and its text, in which NAME stands for the script's name."""
