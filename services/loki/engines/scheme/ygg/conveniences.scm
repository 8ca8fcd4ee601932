;;; Procedures named after the contract: (read-temp0-celsius), (read-temp0), (set-led0! #t), (set-led0-brightness! 40), with _
;;; for - as one likes. A contract is known when a script runs, not when it is compiled: every such name that a script
;;; uses and does not define becomes a procedure that finds its property when it is called.

(define-module (ygg conveniences)
  #:use-module (ygg failure)
  #:use-module (ygg host)
  #:use-module (ygg suggest)
  #:export (with-conveniences the-convenience convenience-name names-in))

;; Its unique name among the script's bindings.
(define convenience-name (string->symbol "a name of the contract"))

(define (canonical symbol)
  "read_temp0_celsius for each spelling; #f for another name."
  (let* ((text (string-map (lambda (c) (if (char=? c #\-) #\_ c)) (symbol->string symbol)))
         (text (if (string-suffix? "!" text) (string-drop-right text 1) text)))
    (and (or (string-prefix? "read_" text) (string-prefix? "set_" text))
         (string-every (lambda (c) (or (char-alphabetic? c) (char-numeric? c) (char=? c #\_))) text)
         text)))

(define (names-in forms)
  "The symbols of FORMS, each once."
  (let ((seen (make-hash-table)))
    (let walk ((x forms))
      (cond ((symbol? x) (hashq-set! seen x #t))
            ((pair? x) (walk (car x)) (walk (cdr x)))))
    (hash-map->list (lambda (name _) name) seen)))

(define (defined-in forms)
  (let loop ((forms forms) (found '()))
    (cond ((null? forms) found)
          ((and (pair? (car forms)) (pair? (cdar forms)) (memq (caar forms) '(define define*)))
           (loop (cdr forms)
                 (let name-of ((target (cadar forms)))
                   (cond ((symbol? target) (cons target found))
                         ((pair? target) (name-of (car target)))
                         (else found)))))
          ((and (pair? (car forms)) (eq? (caar forms) 'begin) (list? (car forms)))
           (loop (cdr forms) (append (defined-in (cdar forms)) found)))
          ((and (pair? (car forms)) (memq (caar forms) '(define-record-type define-values)))
           (loop (cdr forms) (append (names-in (cdar forms)) found)))
          (else (loop (cdr forms) found)))))

(define (with-conveniences forms known?)
  "FORMS after definitions of the contract's names that they use. (KNOWN? name): it is bound already."
  (let ((own (defined-in forms)))
    (let loop ((names (names-in forms)) (definitions '()))
      (if (null? names)
          (append definitions forms)
          (let* ((name (car names)) (text (canonical name)))
            (loop (cdr names)
                  (if (and text (not (memq name own)) (not (known? name)))
                      (cons `(define ,name (,convenience-name ,text)) definitions)
                      definitions)))))))

;;; When they are called.

(define mains '("on" "state" "value" "level"))

(define (of key properties) (filter (lambda (p) (eq? #t (assq-ref p key))) properties))

(define (main-of properties)
  "The property that is meant where only the capability is named: the only one, or one of the usual names."
  (cond ((null? properties) #f)
        ((null? (cdr properties)) (car properties))
        (else
         (let loop ((names mains))
           (cond ((null? names) #f)
                 ((find-property (car names) properties))
                 (else (loop (cdr names))))))))

(define (find-property name properties)
  (or-map (lambda (p) (and (equal? (assq-ref p 'name) name) p)) properties))

(define (filter keep? items)
  (let loop ((items items) (kept '()))
    (cond ((null? items) (reverse kept))
          ((keep? (car items)) (loop (cdr items) (cons (car items) kept)))
          (else (loop (cdr items) kept)))))

(define (path-of rest key)
  "`temp0_celsius` or `temp0` as `temp0.celsius`, #f if the contract has no such property."
  (or-map
   (lambda (capability)
     (let* ((id (assq-ref capability 'id))
            (properties (of key (assq-ref capability 'properties)))
            (property (cond ((string=? rest id) (main-of properties))
                            ((string-prefix? (string-append id "_") rest)
                             (find-property (substring rest (+ 1 (string-length id))) properties))
                            (else #f))))
       (and property (string-append id "." (assq-ref property 'name)))))
   (capabilities)))

(define (meant text)
  "The host's name that a similar one probably stands for: read-sensor, set-timer!."
  (let ((written (string-map (lambda (c) (if (char=? c #\_) #\- c)) text)))
    (if (member written (interface-names))
        (string-append "Did you mean " written "?")
        (did-you-mean written (interface-names)))))

(define (the-convenience text)
  (let* ((reads? (string-prefix? "read_" text))
         (rest (substring text (if reads? 5 4))))
    (define (path)
      (or (path-of rest (if reads? 'readable 'writable))
          (raise-host-error "FAILED_PRECONDITION" "NOT_IN_CONTRACT"
                            (string-append (device) " has no property to " (if reads? "read" "set") " by the name "
                                           text)
                            (string-trim-both (string-append (meant text) " See (capabilities).")))))
    (lambda given                                 ; a suggestion precedes the check of the number of values
      (let ((path (path)))
        (unless (= (length given) (if reads? 0 1))
          (misuse (string-append text " takes " (if reads? "no arguments" "1 argument, the value") ", not "
                                 (number->string (length given)))))
        (if reads?
            (property-read path)
            (property-write! path (car given)))))))
