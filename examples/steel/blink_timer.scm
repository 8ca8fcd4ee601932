;; Blink the LED from a timer that its handler sets again, and stop after a number of blinks.
;; @version 1.0.0
;; @param interval double=0.5 Seconds between changes of the LED.
;; @param times int=10 Number of blinks.
;; @requires actuator.led@1+

(define interval (arg 'interval 0.5))
(define blinks 0)

(define (toggle-led)
  (if (led-state)
      (led-off)
      (begin
        (led-on)
        (set! blinks (+ blinks 1)))))

(define (tick)
  (toggle-led)
  (if (< blinks (arg 'times 10))
      (set-timer "blink" interval tick)
      (begin
        (led-off)
        (log "info" (format "Blinked ~a times" blinks)))))

(log "info" "Starting the blink program")
(tick)
