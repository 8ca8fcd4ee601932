-- Read all thermometers of the mesh at an interval, and publish the coldest and the warmest. Its target is the mesh:
--   ygg program deploy examples/programs/fleet_sweep.lua --mesh
-- @version 1.0.0
-- @param every_s double=60.0 Seconds between sweeps.
-- @timeout 60

last = {}

local function sweep()
  local coldest, warmest, unreachable = nil, nil, 0
  for _, d in ipairs(ygg.devices{ has = "sensor.temperature@1+", online = true }) do
    local ok, celsius = pcall(d.read, d, "temp0.celsius")
    if not ok then
      unreachable = unreachable + 1
    else
      local here = { device = d.id, celsius = celsius }
      if not coldest or celsius < coldest.celsius then coldest = here end
      if not warmest or celsius > warmest.celsius then warmest = here end
    end
  end
  last = { coldest = coldest, warmest = warmest, unreachable = unreachable }
  publish("sweep", last)
end

every("sweep", args.every_s, sweep)
sweep()
