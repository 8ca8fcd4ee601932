;; Heat a room: the heater (here the LED) is on below the target and off above it, with a hysteresis of 0.5 °C each way.
;; The target can be changed while it runs:  ygg program globals thermostat target=22
;; @version 1.0.0
;; @param target double=20.0 Target temperature in °C.
;; @param every_s double=2.0 Seconds between readings.
;; @requires sensor.temperature@1+
;; @requires actuator.led@1+{on:bool rw}

(define target (load 'target (arg 'target)))
(define heating (led-state))

(define (regulate _)
  (unless (equal? target (load 'target)) (store 'target target))
  (let ((celsius (property-read "temp0.celsius")))
    (cond ((and (< celsius (- target 0.5)) (not heating))
           (led-on)
           (set! heating #t))
          ((and (> celsius (+ target 0.5)) heating)
           (led-off)
           (set! heating #f)))))

(every 'regulate (arg 'every_s) regulate)
