;;; What calls a procedure of the script while it works, in Scheme: Guile's own are C, within which a program cannot be
;;; suspended, so that the procedure could not call the host. If no procedure of the script is called, Guile's own work.

(define-module (ygg callbacks)
  #:use-module ((srfi srfi-1) #:prefix s1:)
  #:export (string-any string-every string-count string-delete string-filter string-fold string-for-each string-map
            string-index string-index-right string-skip string-trim string-trim-both string-trim-right
            count delete delete-duplicates filter partition remove hash-count hash-map->list sort stable-sort sorted?))

(define-syntax-rule (native name) (@ (guile) name))

;;; Strings. A predicate may be a character, too; START and END as everywhere.

(define (first-index text pred start end)
  "The first index of START to END for which PRED is true, or #f; its result as the second value."
  (let loop ((i start))
    (if (>= i end)
        (values #f #f)
        (let ((found (pred (string-ref text i))))
          (if found (values i found) (loop (+ i 1)))))))

(define (checked text start end)
  "Raises the error of Guile for an invalid string or bounds outside of it."
  (substring text start end))

(define* (string-any pred text #:optional (start 0) (end (string-length text)))
  (if (procedure? pred)
      (begin
        (checked text start end)
        (call-with-values (lambda () (first-index text pred start end)) (lambda (_ found) found)))
      (native-string-any pred text start end)))
(define native-string-any (native string-any))

(define* (string-every pred text #:optional (start 0) (end (string-length text)))
  (cond ((not (procedure? pred)) (native-string-every pred text start end))
        (else
         (checked text start end)
         (let loop ((i start) (last #t))
           (if (or (not last) (>= i end)) last (loop (+ i 1) (pred (string-ref text i))))))))
(define native-string-every (native string-every))

(define* (string-index text pred #:optional (start 0) (end (string-length text)))
  (if (procedure? pred)
      (begin
        (checked text start end)
        (call-with-values (lambda () (first-index text pred start end)) (lambda (index _) index)))
      (native-string-index text pred start end)))
(define native-string-index (native string-index))

(define* (string-skip text pred #:optional (start 0) (end (string-length text)))
  (if (procedure? pred)
      (string-index text (lambda (c) (not (pred c))) start end)
      (native-string-skip text pred start end)))
(define native-string-skip (native string-skip))

(define* (string-index-right text pred #:optional (start 0) (end (string-length text)))
  (cond ((not (procedure? pred)) (native-string-index-right text pred start end))
        (else
         (checked text start end)
         (let loop ((i (- end 1)))
           (cond ((< i start) #f)
                 ((pred (string-ref text i)) i)
                 (else (loop (- i 1))))))))
(define native-string-index-right (native string-index-right))

(define (kept keep? text start end)
  (checked text start end)
  (let loop ((i start) (chars '()))
    (cond ((>= i end) (list->string (reverse chars)))
          ((keep? (string-ref text i)) (loop (+ i 1) (cons (string-ref text i) chars)))
          (else (loop (+ i 1) chars)))))

(define* (string-filter pred text #:optional (start 0) (end (string-length text)))
  (if (procedure? pred) (kept pred text start end) (native-string-filter pred text start end)))
(define native-string-filter (native string-filter))

(define* (string-delete pred text #:optional (start 0) (end (string-length text)))
  (if (procedure? pred)
      (kept (lambda (c) (not (pred c))) text start end)
      (native-string-delete pred text start end)))
(define native-string-delete (native string-delete))

(define* (string-count text pred #:optional (start 0) (end (string-length text)))
  (if (procedure? pred)
      (string-fold (lambda (c n) (if (pred c) (+ n 1) n)) 0 text start end)
      (native-string-count text pred start end)))
(define native-string-count (native string-count))

(define* (string-fold kons knil text #:optional (start 0) (end (string-length text)))
  (checked text start end)
  (let loop ((i start) (result knil))
    (if (>= i end) result (loop (+ i 1) (kons (string-ref text i) result)))))

(define (shortest texts) (apply min (map string-length texts)))
(define (nth texts i) (map (lambda (text) (string-ref text i)) texts))

(define (string-for-each proc text . rest)
  "Over one string or several (R7RS); after one string START and END may follow, as in SRFI 13."
  (if (and (pair? rest) (string? (car rest)))
      (let* ((texts (cons text rest)) (end (shortest texts)))
        (do ((i 0 (+ i 1))) ((>= i end)) (apply proc (nth texts i))))
      (apply (lambda* (#:optional (start 0) (end (string-length text)))
               (checked text start end)
               (do ((i start (+ i 1))) ((>= i end)) (proc (string-ref text i))))
             rest)))

(define (string-map proc text . rest)
  (let* ((texts (cons text rest)) (end (shortest texts)))
    (let loop ((i 0) (chars '()))
      (if (>= i end)
          (list->string (reverse chars))
          (loop (+ i 1) (cons (apply proc (nth texts i)) chars))))))

(define* (string-trim text #:optional (pred char-whitespace?) (start 0) (end (string-length text)))
  (substring text (or (string-skip text pred start end) end) end))

(define* (string-trim-right text #:optional (pred char-whitespace?) (start 0) (end (string-length text)))
  (let ((last (if (procedure? pred)
                  (string-index-right text (lambda (c) (not (pred c))) start end)
                  ((native string-skip-right) text pred start end))))
    (substring text start (if last (+ last 1) start))))

(define* (string-trim-both text #:optional (pred char-whitespace?) (start 0) (end (string-length text)))
  (string-trim (string-trim-right text pred start end) pred))

;;; Lists. A non-list is passed to Guile's own procedure, which raises the error.

(define (sifted keep? items)
  (let loop ((items items) (found '()))
    (cond ((null? items) (reverse! found))
          ((keep? (car items)) (loop (cdr items) (cons (car items) found)))
          (else (loop (cdr items) found)))))

(define (filter pred items)
  (if (list? items) (sifted pred items) ((native filter) pred items)))

(define (remove pred items)
  (if (list? items) (sifted (lambda (item) (not (pred item))) items) (s1:remove pred items)))

(define (partition pred items)
  (if (list? items)
      (let loop ((items items) (in '()) (out '()))
        (cond ((null? items) (values (reverse! in) (reverse! out)))
              ((pred (car items)) (loop (cdr items) (cons (car items) in) out))
              (else (loop (cdr items) in (cons (car items) out)))))
      (s1:partition pred items)))

(define (count pred items . rest)
  (let loop ((lists (cons items rest)) (n 0))
    (if (s1:every pair? lists)
        (loop (map cdr lists) (if (apply pred (map car lists)) (+ n 1) n))
        n)))

(define* (delete x items #:optional (same? equal?))
  (if (or (eq? same? equal?) (not (list? items)))
      (s1:delete x items)
      (sifted (lambda (item) (not (same? x item))) items)))

(define* (delete-duplicates items #:optional (same? equal?))
  (if (or (eq? same? equal?) (not (list? items)))
      (s1:delete-duplicates items)
      (let loop ((items items) (found '()))
        (cond ((null? items) (reverse! found))
              ((s1:any (lambda (before) (same? before (car items))) (reverse found)) (loop (cdr items) found))
              (else (loop (cdr items) (cons (car items) found)))))))

;;; Hash tables.

(define (entries table) ((native hash-map->list) cons table))
(define (hash-count pred table)
  (s1:fold (lambda (entry n) (if (pred (car entry) (cdr entry)) (+ n 1) n)) 0 (entries table)))
(define (hash-map->list proc table)
  (map (lambda (entry) (proc (car entry) (cdr entry))) (entries table)))

;;; Sorting, by merging: stable. An order of Guile's own calls no script, and C is faster.

(define native-orders (list < > <= >= string<? string>? string-ci<? char<? char>?))

(define (merged a b less?)
  (let loop ((a a) (b b) (found '()))
    (cond ((null? a) (append-reverse! found b))
          ((null? b) (append-reverse! found a))
          ((less? (car b) (car a)) (loop a (cdr b) (cons (car b) found)))
          (else (loop (cdr a) b (cons (car a) found))))))
(define append-reverse! s1:append-reverse!)

(define (sorted items n less?)
  "The first N of ITEMS, N > 0."
  (if (= n 1)
      (list (car items))
      (let ((half (quotient n 2)))
        (merged (sorted items half less?) (sorted (list-tail items half) (- n half) less?) less?))))

(define (sort items less?)
  (cond ((or (memq less? native-orders) (not (procedure? less?))) ((native stable-sort) items less?))
        ((null? items) '())
        ((list? items) (sorted items (length items) less?))
        ((vector? items) (list->vector (sort (vector->list items) less?)))
        (else ((native stable-sort) items less?))))
(define (stable-sort items less?) (sort items less?))

(define (sorted? items less?)
  (cond ((or (memq less? native-orders) (not (procedure? less?))) ((native sorted?) items less?))
        ((vector? items) (sorted? (vector->list items) less?))
        ((list? items)
         (or (null? items)
             (let loop ((before (car items)) (rest (cdr items)))
               (or (null? rest) (and (not (less? (car rest) before)) (loop (car rest) (cdr rest)))))))
        (else ((native sorted?) items less?))))
