;; Report on a schedule: a heartbeat every minute, all readings every five minutes, and a memory check every 60 seconds.
;; @version 1.0.0
;; @requires sensor.temperature@1+

(define heartbeats 0)

(define (heartbeat)
  (set! heartbeats (+ heartbeats 1))
  (shadow-update "last-heartbeat" (current-time)))

(define (report)
  (let ([sensors (read-sensors)] [info (device-info)])
    (mqtt-publish "reports/sensors"
                  (json-encode `((device . ,(get info 'device_id))
                                 (uptime . ,(uptime))
                                 (readings . ,sensors))))))

(define (check-memory)
  (let ((memory (memory-info)))
    (when (< (get memory 'free) 1000)
      (log-warn "Low on memory:" (get memory 'free) "of" (get memory 'total)))))

(schedule "* * * * *" heartbeat)
(schedule "*/5 * * * *" report)
(schedule-interval 60 check-memory)
(log "info" "Reports are scheduled")
(report)
