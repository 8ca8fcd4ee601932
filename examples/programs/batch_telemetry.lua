-- Collect readings of all sensors and publish them in batches: fewer messages, and a restart loses no reading.
-- @version 1.0.0
-- @param every_s double=1.0 Seconds between readings.
-- @param size int=10 Readings per batch.

batch = store.load("batch", json.array())
sent = 0

every("read", args.every_s, function()
  batch[#batch + 1] = { time = time(), values = device:sensors() }
  if #batch >= args.size then
    publish("telemetry", { device = device.id, readings = batch })
    sent, batch = sent + 1, json.array()
  end
  store("batch", batch)
end)
