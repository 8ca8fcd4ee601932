;; Read all thermometers of the mesh at an interval, and publish the coldest and the warmest. Its target is the mesh:
;;   ygg program deploy examples/programs/fleet_sweep.scm --mesh
;; @version 1.0.0
;; @param every_s double=60.0 Seconds between sweeps.
;; @timeout 60

(define last '())

(define (reading d)
  (guard (e ((host-error? e) #f))
    (with-device d `((device . ,(device-id d)) (celsius . ,(property-read "temp0.celsius"))))))
(define (celsius r) (assq-ref r 'celsius))
(define (best better? readings)
  (reduce (lambda (a b) (if (better? (celsius a) (celsius b)) a b)) '() readings))

(define (sweep . _)
  (let* ((found (devices '((has . "sensor.temperature@1+") (online . #t))))
         (readings (filter-map reading found)))
    (set! last `((coldest . ,(best < readings)) (warmest . ,(best > readings))
                 (unreachable . ,(- (length found) (length readings)))))
    (publish "sweep" last)))

(every 'sweep (arg 'every_s) sweep)
(sweep)
