;;; The name that was probably meant. Pure.

(define-module (ygg suggest)
  #:export (nearest did-you-mean))

(define max-length 40)

(define (distance a b limit)
  "Of Damerau and Levenshtein, adjacent letters swapped counting one; more than LIMIT is LIMIT + 1."
  (let* ((n (string-length a)) (m (string-length b)))
    (if (> (abs (- n m)) limit)
        (+ limit 1)
        (let loop ((i 1) (before #f) (row (list->vector (iota (+ m 1)))))
          (if (> i n)
              (min (vector-ref row m) (+ limit 1))
              (let ((next (make-vector (+ m 1) i)))
                (do ((j 1 (+ j 1)))
                    ((> j m))
                  (let ((same? (char=? (string-ref a (- i 1)) (string-ref b (- j 1)))))
                    (vector-set! next j (min (+ 1 (vector-ref next (- j 1))) (+ 1 (vector-ref row j))
                                             (+ (vector-ref row (- j 1)) (if same? 0 1))))
                    (when (and before (> j 1) (char=? (string-ref a (- i 1)) (string-ref b (- j 2)))
                               (char=? (string-ref a (- i 2)) (string-ref b (- j 1))))
                      (vector-set! next j (min (vector-ref next j) (+ 1 (vector-ref before (- j 2))))))))
                (loop (+ i 1) row next)))))))

(define (limit-for text) (max 1 (quotient (string-length text) 3)))

(define (nearest name candidates)
  "Of the strings CANDIDATES the one that is most like NAME, or #f if none is similar."
  (let ((limit (limit-for name)))
    (and (<= (string-length name) max-length)
         (let loop ((rest candidates) (best #f) (least (+ limit 1)))
           (if (null? rest)
               best
               (let* ((one (car rest)) (far (if (string=? one name) (+ limit 1) (distance name one limit))))
                 (if (or (< far least) (and best (= far least) (string<? one best)))
                     (loop (cdr rest) one far)
                     (loop (cdr rest) best least))))))))

(define (did-you-mean name candidates)
  "\"Did you mean NAME?\" or an empty string."
  (let ((found (nearest name candidates)))
    (if found (string-append "Did you mean " found "?") "")))
