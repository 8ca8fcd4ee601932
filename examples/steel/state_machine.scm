;; A state machine that keeps its state across restarts: idle, monitoring, alert.
;; @version 1.0.0
;; @param interval double=5 Seconds between readings.
;; @requires sensor.temperature@1+
;; @requires actuator.led@1+

(define current-state (string->symbol (or (load "state") "idle")))

(define (transition-to new-state)
  (log "info" (format "State: ~a -> ~a" current-state new-state))
  (set! current-state new-state)
  (store "state" (symbol->string new-state))
  (shadow-update "state" (symbol->string new-state)))

(define (handle-sensor-data sensors)
  (let ((temp (get sensors 'temperature)))
    (case current-state
      ['idle
       (when (> temp 30)
         (transition-to 'monitoring)
         (led-on))]
      ['monitoring
       (cond
         [(> temp 35) (transition-to 'alert)]
         [(< temp 25) (transition-to 'idle) (led-off)])]
      ['alert
       (mqtt-publish "alerts/temperature" (json-encode sensors))
       (when (< temp 30)
         (transition-to 'monitoring))])))

(define (safe-read)
  (guard (ex
          [else
           (log "error" (format "No reading: ~a" (error-object-message ex)))
           '()])
    (read-sensors)))

(define (step)
  (let ((sensors (safe-read)))
    (unless (null? sensors)
      (handle-sensor-data sensors)))
  (set-timer "step" (arg 'interval 5) step))

(log "info" (format "Starting in the state ~a" current-state))
(step)
