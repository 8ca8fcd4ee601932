;; Watch the temperature: LED on and an alert above the threshold, with a cooldown between alerts; LED off below it.
;; @version 1.0.0
;; @param check_interval double=10 Seconds between readings.
;; @param cooldown double=300 Minimum seconds between alerts.
;; @requires sensor.temperature@1+
;; @requires actuator.led@1+

(define alert-threshold 30.0)
(define check-interval (arg 'check_interval 10))
(define monitoring-active #t)

(define (clear-alert)
  (delete "last-alert")
  (log "info" "Ready for the next alert"))

(define (raise-alert sensors)
  (unless (load "last-alert")
    (let ([temp (get sensors 'temperature)])
      (log "warn" (format "Temperature alert: ~a°C > ~a°C" temp alert-threshold))
      (mqtt-publish "alerts/temperature"
                    (json-encode `((temperature . ,temp)
                                   (threshold . ,alert-threshold)
                                   (timestamp . ,(current-time)))))
      (store "last-alert" (current-time))
      (set-timer "alert-cooldown" (arg 'cooldown 300) clear-alert))))

(define (monitor)
  (when monitoring-active
    (let* ((sensors (read-sensors))
           (temp (get sensors 'temperature)))
      (log "debug" (format "Temp: ~a°C, humidity: ~a%" temp (get sensors 'humidity)))
      (cond
        [(> temp alert-threshold) (led-on) (raise-alert sensors)]
        [else (led-off)])
      (set-timer "sensor-check" check-interval monitor))))

(register-event-handler "mqtt-message"
  (lambda (topic payload)
    (cond
      [(string=? topic "commands/set-threshold")
       (set! alert-threshold (string->number payload))
       (log "info" (format "Alert threshold set to ~a°C" alert-threshold))]
      [(string=? topic "commands/stop-monitoring")
       (set! monitoring-active #f)
       (log "info" "Monitoring stopped by a command")])))

(monitor)
