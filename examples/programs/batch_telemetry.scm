;; Collect readings of all sensors and publish them in batches: fewer messages, and a restart loses no reading.
;; @version 1.0.0
;; @param every_s double=1.0 Seconds between readings.
;; @param size int=10 Readings per batch.

(define batch (load 'batch '()))
(define sent 0)

(every 'read (arg 'every_s)
  (lambda (_)
    (set! batch (cons `((time . ,(current-time)) (values . ,(read-sensors))) batch))
    (when (>= (length batch) (arg 'size))
      (publish "telemetry" `((readings . ,(list->vector (reverse batch)))))
      (set! sent (+ sent 1))
      (set! batch '()))
    (store 'batch (list->vector batch))))
