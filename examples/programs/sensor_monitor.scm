;; Watch a temperature: one alarm when it gets too warm, the next not before it has cooled down and some time has passed.
;; @version 1.0.0
;; @param limit double=30.0 Above this it is too warm, in degrees.
;; @param every_s double=5.0 Time between two looks.
;; @param cool_down_s double=60.0 Least time between two alarms.
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
