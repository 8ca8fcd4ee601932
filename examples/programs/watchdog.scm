;; Watch a device: publish when it has been offline for too long, and when it is back.
;; @version 1.0.0
;; @param patience_s double=30.0 Seconds offline before the alarm.

(define state (if (assq-ref (device-info) 'online) "online" "offline"))

(define (missing _)
  (set! state "missing")
  (log-error "the device has been away for" (arg 'patience_s) "s")
  (publish "missing" #t))

(on-event 'offline
  (lambda (_)
    (set! state "offline")
    (after 'patience (arg 'patience_s) missing)))
(on-event 'online
  (lambda (_)
    (cancel 'patience)
    (when (equal? state "missing") (publish "back" #t))
    (set! state "online")))
