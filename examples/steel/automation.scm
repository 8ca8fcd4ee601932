;; Handle events: commands in messages, changed readings, and an event that the program emits.
;; @version 1.0.0
;; @requires sensor.temperature@1+
;; @requires actuator.led@1+

(define threshold 30.0)
(define last-command "none")

(register-event-handler "mqtt-message"
  (lambda (topic payload)
    (when (string-contains? topic "commands/")
      (set! last-command (substring topic (string-length "commands/")))
      (case (string->symbol last-command)
        ['led (if (string=? payload "on") (led-on) (led-off))]
        ['pause (sleep (string->number payload))]
        ['status (mqtt-publish "status/report" (json-encode (read-sensors)))]
        [else (log "warn" (format "Unknown command: ~a" last-command))]))))

(register-event-handler "sensor"
  (lambda (name value)
    (when (and (string=? name "temperature") (> value threshold))
      (emit-event "threshold-exceeded" (hash 'sensor name 'value value)))))

(register-event-handler "threshold-exceeded"
  (lambda (data)
    (led-on)
    (shadow-update "alarm" (get data 'value))
    (mqtt-publish (string-append "alerts/" (get data 'sensor)) (json-encode data))))

(log "info" "Waiting for events")
