;; A program to call:  ygg program eval interactive '(greet "Ada")'
;; Its guests are kept in the store, so they survive a restart.
;; @version 1.0.0
;; @requires actuator.led@1+

(define guests (load 'guests '()))

(define (greet name)
  (let* ((key (string->symbol name)) (count (+ 1 (or (assq-ref guests key) 0))))
    (set! guests (assq-set! guests key count))
    (store 'guests guests)
    (emit 'greeted name)
    (format #f "hello ~a, visit ~a" name count)))
(define (set property value)
  (let ((path (string-append "led0." property)))
    (property-write! path value)
    (property-read path)))

(on 'greeted (lambda (name) (log name "was here")))
