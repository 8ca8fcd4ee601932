;; A package for other programs: conversion to Fahrenheit, and a switch with hysteresis. comfort.scm uses it.
;; @version 1.0.0

(export fahrenheit switch)

(define (fahrenheit celsius)
  (+ 32 (* celsius 9/5)))

;; Return a switch: on below `low`, off above `high`, unchanged in between.
(define (switch low high)
  (define on #f)
  (lambda (celsius)
    (cond ((< celsius low) (set! on #t))
          ((> celsius high) (set! on #f)))
    on))
