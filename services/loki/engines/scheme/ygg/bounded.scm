;;; What makes as much as its argument says, refused when that is more than the program may have: Guile would do it in
;;; one step in C, before any limit could look.

(define-module (ygg bounded)
  #:use-module (rnrs bytevectors)
  #:use-module ((scheme base) #:select (expt) #:prefix base:)
  #:use-module ((srfi srfi-1) #:prefix s1:)
  #:use-module (ygg control)
  #:use-module (ygg failure)
  #:use-module (ygg state)
  #:export (bounded-make-string bounded-make-vector bounded-make-bytevector bounded-make-list
            bounded-iota bounded-list-tabulate bounded-string-pad bounded-string-pad-right bounded-expt bounded-ash))

(define (check count bytes-each)
  (when (and (exact-integer? count) (> (* count bytes-each) (program-memory-bytes (current-program))))
    (end-turn (failure "MEMORY" "out of memory"))))

(define-syntax-rule (define-bounded name original count bytes-each (before ...) rest)
  (define (name before ... count . rest)
    (check count bytes-each)
    (apply original before ... count rest)))

(define-bounded bounded-make-string make-string n 4 () rest)
(define-bounded bounded-make-vector make-vector n 8 () rest)
(define-bounded bounded-make-bytevector make-bytevector n 1 () rest)
(define-bounded bounded-make-list s1:make-list n 16 () rest)
(define-bounded bounded-iota iota n 16 () rest)
(define-bounded bounded-list-tabulate s1:list-tabulate n 16 () rest)
(define-bounded bounded-string-pad string-pad n 4 (text) rest)
(define-bounded bounded-string-pad-right string-pad-right n 4 (text) rest)

(define (bounded-expt base power)
  (when (and (number? base) (exact? base) (exact-integer? power) (> (abs power) 1))
    (check (abs power)
           (/ (max (integer-length (numerator base)) (integer-length (denominator base))) 8)))
  (base:expt base power))

(define (bounded-ash n count)
  (check count 1/8)
  (ash n count))
