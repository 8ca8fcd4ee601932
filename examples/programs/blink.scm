;; Blink the LED while the program runs.
;; @version 1.0.0
;; @param period_s double=1.0 Seconds between changes of the LED.
;; @requires actuator.led@1+

(define lit #f)
(define changes 0)

(every 'blink (arg 'period_s)
  (lambda (_)
    (set! lit (not lit))
    (if lit (led-on) (led-off))
    (set! changes (+ changes 1))))
(log "blinking every" (arg 'period_s) "s")
