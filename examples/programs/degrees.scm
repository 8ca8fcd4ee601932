;; A package for other programs: degrees in Fahrenheit, and a switch with a dead band. comfort.scm uses it.
;; @version 1.0.0

(export fahrenheit switch)

(define (fahrenheit celsius)
  (+ 32 (* celsius 9/5)))

;; On below `low`, off above `high`, as it was in between.
(define (switch low high)
  (define on #f)
  (lambda (celsius)
    (cond ((< celsius low) (set! on #t))
          ((> celsius high) (set! on #f)))
    on))
