-- A package for other programs: degrees in Fahrenheit, and a switch with a dead band. comfort.lua uses it.
-- @version 1.0.0

local degrees = {}

function degrees.fahrenheit(celsius)
  return celsius * 9 / 5 + 32
end

-- On below `low`, off above `high`, as it was in between.
function degrees.switch(low, high)
  local on = false
  return function(celsius)
    if celsius < low then on = true elseif celsius > high then on = false end
    return on
  end
end

return degrees
