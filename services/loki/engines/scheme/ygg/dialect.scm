;;; What scripts that were written for embedded Schemes expect: tables that are values, short names for work on strings,
;;; with-handler. Pure: builds on the script's own bindings only.
;;;
;;; A table made by `hash` is a hash table like any other; hash-insert and hash-remove return another one and leave theirs
;;; as it was, in time proportional to its size. hash-set! and hash-remove! change one in place.

(define-module (ygg dialect)
  #:use-module ((scheme base) #:select (error))
  #:use-module (ygg control)
  #:use-module ((srfi srfi-13) #:select (string-trim-both string-trim string-trim-right string-contains string-null?))
  #:export (hash hash-insert hash-get hash-try-get hash-contains? hash-remove hash-length hash-keys->list
            hash-values->list get split-many trim trim-start trim-end with-handler call-with-handler))

(define (hash . keys-and-values)
  "(hash 'a 1 'b 2)"
  (let ((table (make-hash-table)))
    (let loop ((rest keys-and-values))
      (cond ((null? rest) table)
            ((null? (cdr rest)) (error "hash takes keys and values in turn; this key has no value:" (car rest)))
            (else (hash-set! table (car rest) (cadr rest)) (loop (cddr rest)))))))

(define (copied table)
  (let ((copy (make-hash-table)))
    (for-each (lambda (entry) (hash-set! copy (car entry) (cdr entry))) (hash-map->list cons table))
    copy))

(define (hash-insert table key value)
  (let ((copy (copied table)))
    (hash-set! copy key value)
    copy))

(define (hash-remove table key)
  (let ((copy (copied table)))
    (hash-remove! copy key)
    copy))

(define nothing (list 'nothing))

(define* (hash-get table key #:optional (default nothing))
  "Returns the value of KEY, or DEFAULT; an error without both. (Guile's hash-ref returns #f for a missing key.)"
  (let ((found (hash-ref table key default)))
    (when (eq? found nothing) (error "no such key:" key))
    found))

(define (hash-try-get table key) (hash-ref table key #f))
(define (hash-contains? table key) (not (eq? (hash-ref table key nothing) nothing)))
(define (hash-length table) (hash-count (lambda _ #t) table))
(define (hash-keys->list table) (hash-map->list (lambda (key _) key) table))
(define (hash-values->list table) (hash-map->list (lambda (_ value) value) table))

(define (other key)
  "A symbol as a string and the other way round: keys of values from the mesh are symbols."
  (cond ((symbol? key) (symbol->string key))
        ((string? key) (string->symbol key))
        (else key)))

(define* (get from key #:optional (default #f))
  "The value of KEY in a hash table or an association list, whether the key is a symbol or a string there."
  (cond ((hash-table? from)
         (let ((found (hash-ref from key nothing)))
           (if (eq? found nothing) (hash-ref from (other key) default) found)))
        ((list? from)
         (let ((entry (or (assoc key from) (assoc (other key) from))))
           (if entry (cdr entry) default)))
        (else (error "get takes a hash table or an association list, not" from))))

(define (split-many text separator)
  "The parts of TEXT between occurrences of the string SEPARATOR."
  (when (string-null? separator) (error "split-many takes a separator that is not empty"))
  (let loop ((start 0) (parts '()))
    (let ((at (string-contains text separator start)))
      (if at
          (loop (+ at (string-length separator)) (cons (substring text start at) parts))
          (reverse (cons (substring text start) parts))))))

(define (trim text) (string-trim-both text))
(define (trim-start text) (string-trim text))
(define (trim-end text) (string-trim-right text))

(define (call-with-handler handler thunk)
  (guard (raised (#t (handler raised))) (thunk)))

(define-syntax with-handler
  (syntax-rules ()
    ((_ handler body ...) (call-with-handler handler (lambda () body ...)))))
