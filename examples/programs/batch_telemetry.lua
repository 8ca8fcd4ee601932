-- Collect readings of all sensors and publish them in batches: fewer messages, and none is lost by a restart.
-- @version 1.0.0
-- @param every_s double=1.0 Time between two readings.
-- @param size int=10 Readings in a batch.

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
