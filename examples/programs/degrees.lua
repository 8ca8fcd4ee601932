-- A package for other programs: conversion to Fahrenheit, and a switch with hysteresis. comfort.lua uses it.
-- @version 1.0.0

local degrees = {}

function degrees.fahrenheit(celsius)
  return celsius * 9 / 5 + 32
end

-- Return a switch: on below `low`, off above `high`, unchanged in between.
function degrees.switch(low, high)
  local on = false
  return function(celsius)
    if celsius < low then on = true elseif celsius > high then on = false end
    return on
  end
end

return degrees
