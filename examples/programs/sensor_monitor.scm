;; Watch a temperature: one alarm when it is too warm, the next after it has cooled down and a minimum time has passed.
;; @version 1.0.0
;; @param limit double=30.0 Limit of the alarm, in °C.
;; @param every_s double=5.0 Seconds between readings.
;; @param cool_down_s double=60.0 Minimum seconds between alarms.
;; @requires sensor.temperature@1+

(define alarms (load 'alarms 0))
(define warm #f)
(define last-alarm #f)

(define (due?)
  (or (not last-alarm) (>= (- (uptime) last-alarm) (arg 'cool_down_s))))

(define (look _)
  (define celsius (property-read "temp0.celsius"))
  (cond ((and (> celsius (arg 'limit)) (not warm) (due?))
         (set! warm #t)
         (set! last-alarm (uptime))
         (set! alarms (+ alarms 1))
         (store 'alarms alarms)
         (log-warning (format #f "~,1f degrees, the limit is ~,1f" celsius (arg 'limit)))
         (publish "alarm" `((celsius . ,celsius))))
        ((< celsius (- (arg 'limit) 1))
         (set! warm #f))))

(every 'look (arg 'every_s) look)
