;; Work on a schedule, in UTC: light from 7 to 19, a report every hour.
;; @version 1.0.0
;; @param morning string="0 7 * * *" Cron expression that switches the light on.
;; @param evening string="0 19 * * *" Cron expression that switches it off.
;; @requires actuator.led@1+

(define done '())
(define (note what) (set! done (append done (list what))))

(cron 'morning (arg 'morning) (lambda (_) (led-on) (note "morning")))
(cron 'evening (arg 'evening) (lambda (_) (led-off) (note "evening")))
(cron 'report "0 * * * *" (lambda (_) (publish "report" `((light . ,(led-state)))) (note "report")))
(after 'begin 0.1 (lambda (_) (note "begun")))
