-- Work on a schedule, in UTC: light from 7 to 19, a report every hour.
-- @version 1.0.0
-- @param morning string="0 7 * * *" Cron expression that switches the light on.
-- @param evening string="0 19 * * *" Cron expression that switches it off.
-- @requires actuator.led@1+

done = json.array()

local function note(what) done[#done + 1] = what end
cron("morning", args.morning, function() device.led0.on() note("morning") end)
cron("evening", args.evening, function() device.led0.off() note("evening") end)
cron("report", "0 * * * *", function() publish("report", { light = device.led0.state() }) note("report") end)
after("begin", 0.1, function() note("begun") end)
