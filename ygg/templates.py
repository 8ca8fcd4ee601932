"""Templates of `ygg script new`; each runs unmodified on any device."""

LUA = """\
-- NAME: shows the device's sensors, and switches its LED if it has one.
-- Run:  ygg script run NAME.lua --device porch-1 --arg seconds=0.5
-- API:  `device` is the device of the run, `args` the values of --arg, `ygg.devices{}` lists all devices.

local seconds = args.seconds or 0.2

for name, value in pairs(device:sensors()) do
  log.info(name .. " = " .. tostring(value))
end

for _, capability in ipairs(device:capabilities()) do
  if capability.type == "actuator.led" then
    local led = device[capability.id]
    led.on()
    sleep(seconds)
    led.off()
    return capability.id .. " was on for " .. seconds .. " s"
  end
end
return device.id .. " has no LED"
"""

SCHEME = """\
;;; NAME: shows the device's sensors, and switches its LED if it has one.
;;; Run:  ygg script run NAME.scm --device porch-1 --arg seconds=0.5
;;; API:  calls go to the device of the run, (arg 'seconds) is the value of --arg, (devices) lists all devices.

(define seconds (arg 'seconds 0.2))

(for-each
 (lambda (reading) (log-info (car reading) "=" (cdr reading)))
 (read-sensors))

(define (led? capability)
  (equal? (cdr (assq 'type capability)) "actuator.led"))

(define (first-led capabilities)
  (cond ((null? capabilities) #f)
        ((led? (car capabilities)) (cdr (assq 'id (car capabilities))))
        (else (first-led (cdr capabilities)))))

(let ((led (first-led (capabilities))))
  (cond (led
         (led-on led)
         (sleep seconds)
         (led-off led)
         (format #f "~a was on for ~a s" led seconds))
        (else "this device has no LED")))
"""

TEMPLATES = {"lua": (".lua", LUA), "scheme": (".scm", SCHEME)}
"""File suffix and text for each language; NAME in the text is replaced by the script's name."""
