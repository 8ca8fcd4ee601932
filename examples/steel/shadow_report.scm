;; Report the device's readings and the program's own figures in the device's twin, under the program.
;; @version 1.0.0
;; @param interval double=30 Seconds between reports.
;; @requires sensor.temperature@1+

(define program-version "1.0.0")
(define start-time (current-time))
(define reports 0)
(define device (device-info))

(define (report)
  (let ((sensors (read-sensors)))
    (set! reports (+ reports 1))
    (shadow-update "temperature" (get sensors 'temperature))
    (shadow-update "sensor-data" (json-encode sensors))
    (shadow-update "reports" reports)
    (set-timer "report" (arg 'interval 30) report)))

(shadow-update "status" "running")
(shadow-update "program-info"
               (json-encode (hash 'version program-version
                                  'device (get device 'device_id)
                                  'started start-time)))
(report)
