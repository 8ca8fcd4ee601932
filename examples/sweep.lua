-- Asks every thermometer of the mesh, says which device is warmest, and who could not be asked.
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
    log.warn(d.id .. ": " .. tostring(celsius)) -- it may have gone since we asked; `celsius` is the error here
  end
end

if not warmest then return { text = "no thermometer is online" } end
return {
  text = ("%s is warmest: %.1f °C"):format(warmest, readings[warmest]),
  readings = readings,
}
