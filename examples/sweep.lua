-- Read every thermometer of the mesh; return the warmest device and log the devices that do not respond.
-- Run:  ygg script run examples/sweep.lua
--       ygg script run examples/sweep.lua --arg selector=zone=hall

local readings, warmest = {}, nil

for _, d in ipairs(ygg.devices{ has = "sensor.temperature@1+", selector = args.selector, online = true }) do
  local ok, celsius = pcall(d.read, d, "temp0.celsius")
  if ok then
    readings[d.id] = celsius
    if not warmest or celsius > readings[warmest] then warmest = d.id end
    log.info(("%-16s %5.1f °C"):format(d.id, celsius))
  else
    log.warn(d.id .. ": " .. tostring(celsius)) -- `celsius` is the error: the device may have gone offline
  end
end

if not warmest then return { text = "no thermometer is online" } end
return {
  text = ("%s is warmest: %.1f °C"):format(warmest, readings[warmest]),
  readings = readings,
}
