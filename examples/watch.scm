;;; Watch the temperature for a while: warn when it changes by a step or more, and continue if the device goes offline.
;;; Run:  ygg script run examples/watch.scm --device porch-1 --arg seconds=5 --arg every=0.5 --arg step=0.5

(define every (arg 'every 0.1))
(define step (arg 'step 0.5))
(define end (+ (current-time) (arg 'seconds 0.3)))

(define-record-type summary
  (make-summary low high missed)
  summary?
  (low summary-low)
  (high summary-high)
  (missed summary-missed))

(define (reading)
  (guard (e ((host-error? e)
             (log-warning "no reading:" (error-object-message e))
             #f))
    (property-read "temp0.celsius")))

(define (seen s celsius)
  (if celsius
      (make-summary (min celsius (summary-low s)) (max celsius (summary-high s)) (summary-missed s))
      (make-summary (summary-low s) (summary-high s) (+ 1 (summary-missed s)))))

(let loop ((s (make-summary +inf.0 -inf.0 0)) (last #f))
  (let* ((now (reading)) (s (seen s now)))
    (when (and now last (>= (abs (- now last)) step))
      (log-warning "moved from" last "to" now))
    (cond ((< (+ (current-time) every) end)
           (sleep every)
           (loop s (or now last)))
          ((> (summary-low s) (summary-high s)) "no reading at all")
          (else
           (format #f "between ~a and ~a °C, ~a readings missed"
                   (summary-low s) (summary-high s) (summary-missed s))))))
