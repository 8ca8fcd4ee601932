-- Watch a temperature: one alarm when it gets too warm, the next not before it has cooled down and some time has passed.
-- @version 1.0.0
-- @param limit double=30.0 Above this it is too warm, in degrees.
-- @param every_s double=5.0 Time between two looks.
-- @param cool_down_s double=60.0 Least time between two alarms.
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
