-- Watch a temperature: one alarm when it is too warm, the next after it has cooled down and a minimum time has passed.
-- @version 1.0.0
-- @param limit double=30.0 Limit of the alarm, in °C.
-- @param every_s double=5.0 Seconds between readings.
-- @param cool_down_s double=60.0 Minimum seconds between alarms.
-- @requires sensor.temperature@1+

alarms = store.load("alarms", 0)
warm = false
last_alarm = -math.huge

local function look()
  local celsius = device.temp0.celsius()
  if celsius > args.limit then
    if not warm and uptime() - last_alarm >= args.cool_down_s then
      warm, last_alarm, alarms = true, uptime(), alarms + 1
      store("alarms", alarms)
      log.warn(format("%.1f degrees, the limit is %.1f", celsius, args.limit))
      publish("alarm", { device = device.id, celsius = celsius })
    end
  elseif celsius < args.limit - 1 then
    warm = false
  end
end

every("look", args.every_s, look)
