;;; What programs that live have beside scripts: timers, schedules, handlers, own events, messages, a store, twins.
;;;
;;; Handlers are kept here by key ("timer:tick", "event:porch-1/temp0.over", "message:alarm", "own:cooled"); the host is
;;; subscribed to them. In a script run the host rejects all but twins.

(define-module (ygg live)
  #:use-module (srfi srfi-9)
  #:use-module (ygg control)
  #:use-module (ygg failure)
  #:use-module (ygg host)
  #:use-module (ygg json)
  #:use-module (ygg state)
  #:export (make-life life-number life-label life-device life-arguments life-memory-bytes life-module
            life-image set-life-image! life-contracts set-life-contracts!
            handle-event program-globals set-global!
            every after cron cancel on-event on-any-event on emit subscribe store load store-delete store-keys
            twin twin-update! uptime memory-info subscribe-all armed-names handlers handle-here forget-handlers!))

(define-record-type <life>
  (%make-life number label device arguments memory-bytes module handlers once image contracts)
  life?
  (number life-number)                            ; of the program in frames
  (label life-label)
  (device life-device)
  (arguments life-arguments)
  (memory-bytes life-memory-bytes)
  (module life-module)                            ; its globals
  (handlers life-handlers)                        ; key -> procedure
  (once life-once)                                ; keys of handlers that are called once
  (image life-image set-life-image!)
  (contracts life-contracts set-life-contracts!))

(define (make-life number label device arguments memory-bytes module)
  (%make-life number label device arguments memory-bytes module (make-hash-table) (make-hash-table) #f '()))

;; Handlers of the running program, repeated and one-time; a script that runs once has separate tables.
(define run-tables (make-weak-key-hash-table))
(define (tables)
  (let* ((program (current-program)) (life (program-life program)))
    (cond (life (cons (life-handlers life) (life-once life)))
          ((hashq-ref run-tables program))
          (else (let ((made (cons (make-hash-table) (make-hash-table))))
                  (hashq-set! run-tables program made)
                  made)))))
(define (handlers) (car (tables)))
(define (once-only) (cdr (tables)))

;; The handler is set before the host is called: an event may arrive before its response.
;; NAME describes the handler, in words.
(define (register key name handler once? . request)
  (let* ((handler (of-one-argument handler name))
         (handlers (handlers))
         (once (once-only))
         (before (hash-ref handlers key)) (before-once (hash-ref once key)))
    (hash-set! handlers key handler)
    (hash-set! once key once?)
    (with-exception-handler
     (lambda (raised)
       (hash-set! handlers key before)
       (hash-set! once key before-once)
       (raise-exception raised))
     (lambda () (apply host request)))
    *unspecified*))

(define (of-one-argument handler name)
  "HANDLER, which may as well take no argument, as a procedure of one."
  (unless (procedure? handler)
    (misuse (string-append "the handler of the " name " is " (object->string handler) ", not a procedure")))
  (let* ((arity (or (procedure-minimum-arity handler) '(1 0 #f)))
         (least (car arity)))
    (cond ((> least 1)
           (misuse (string-append "the handler of the " name " takes " (number->string least)
                                  " arguments; it is called with one or none")))
          ((equal? arity '(0 0 #f)) (lambda (_) (handler)))
          (else handler))))

;; - is read as _; / as . in names with levels, else as _ (services/loki/naming.py).
(define* (name-of name what #:optional (separator #\_))
  (string-map (lambda (c) (case c ((#\-) #\_) ((#\/) separator) (else c))) (key-of name what)))

(define (key-of name what)
  (cond ((symbol? name) (symbol->string name))
        ((string? name) name)
        (else (misuse (string-append "a " what " is named by a string or a symbol, not by " (object->string name))))))

(define (arm kind once? name when handler)
  (let ((name (name-of name "timer")))
    (register (string-append "timer:" name) (string-append "timer " name) handler once? "timer" kind name when)))
(define (after name seconds handler) (arm "after" #t name seconds handler))
(define (every-interval name seconds handler) (arm "every" #f name seconds handler))
(define (cron name schedule handler) (arm "cron" #f name schedule handler))
(define (cancel name)
  (let* ((name (name-of name "timer")) (was (host "cancel" name)))
    (when was (hash-remove! (handlers) (string-append "timer:" name)))
    was))

(define (every first . rest)
  "(every \"tick\" 1.5 proc) is a timer; (every pred list ...) is that of SRFI 1."
  (if (procedure? first)
      (let loop ((lists rest))
        (cond ((or-map null? lists) #t)
              ((or-map null? (map cdr lists)) (apply first (map car lists)))
              ((apply first (map car lists)) (loop (map cdr lists)))
              (else #f)))
      (begin
        (unless (= (length rest) 2) (misuse "every takes a name, seconds and a procedure"))
        (apply every-interval first rest))))

(define (event-of device path handler)
  (let ((path (name-of path "event" #\.)))
    (register (string-append "event:" device "/" path) (string-append "event " path) handler #f "listen" device path)))
(define (on-event path handler) (event-of (device) path handler))
(define (on-any-event path handler) (event-of "*" path handler))

(define (on name handler)
  (let ((name (name-of name "event")))
    (register (string-append "own:" name) (string-append "event " name) handler #f "own" name)))
(define* (emit name #:optional (value *unspecified*)) (host "emit" (name-of name "event") value) *unspecified*)
(define (subscribe topic handler)
  (let ((topic (name-of topic "topic" #\.)))
    (register (string-append "message:" topic) (string-append "topic " topic) handler #f "subscribe" topic)))

;; Every message of the mesh but the program's own.
(define (subscribe-all handler) (register "message:*" "topics" handler #f "subscribe_all"))

(define (armed-names)
  "The timers that have a handler."
  (let loop ((keys (hash-map->list (lambda (key handler) (and handler key)) (handlers))) (found '()))
    (cond ((null? keys) found)
          ((and (car keys) (string-prefix? "timer:" (car keys)))
           (loop (cdr keys) (cons (string-drop (car keys) (string-length "timer:")) found)))
          (else (loop (cdr keys) found)))))

(define (store key value) (host "store" (key-of key "key") value) *unspecified*)
(define* (load key #:optional (default #f))
  (let ((found (host "load" (key-of key "key"))))
    (if (null? found) default (car found))))
(define (store-delete key) (host "forget" (key-of key "key")))
(define (store-keys) (host "keys"))

(define (twin) (host "twin" (device)))
(define (twin-update! document) (host "twin_update" (device) document))
(define (uptime) (host "uptime"))
(define (memory-info) (host "memory" 0))

;;; For the worker.

(define (handle-event life key value) (handle (life-handlers life) (life-once life) key value))

(define (handle handlers once key value)
  (let ((handler (hash-ref handlers key)))
    (when (hash-ref once key)
      (hash-remove! handlers key)
      (hash-remove! once key))
    (when handler (handler value))))

;;; For tests: a script that runs once keeps its handlers until it ends, and calls them itself.

(define (handle-here key value) (handle (handlers) (once-only) key value))
(define (forget-handlers!)
  (hash-clear! (handlers))
  (hash-clear! (once-only)))

(define (type-of value)
  (cond ((procedure? value) "procedure")
        ((number? value) "number")
        ((string? value) "string")
        ((boolean? value) "boolean")
        ((symbol? value) "symbol")
        ((or (pair? value) (null? value)) "list")
        ((vector? value) "vector")
        ((hash-table? value) "hash table")
        (else "object")))

(define (sendable value)
  "#(VALUE) if the value can be sent, else #f."
  (and (not (procedure? value)) (not (unspecified? value))
       (with-exception-handler
        (lambda (_) #f)
        (lambda () (and (<= (string-length (value->json value)) 65536) (vector value)))
        #:unwind? #t)))

(define (program-globals life names)
  (let ((found '()))
    (module-for-each
     (lambda (name variable)
       (let ((text (symbol->string name)))
         (when (and (variable-bound? variable)
                    (not (string-index text #\space))
                    (not (macro? (variable-ref variable)))
                    (or (null? names) (member text names)))
           (let* ((value (variable-ref variable)) (sent (sendable value)))
             (set! found (cons `((name . ,text) (type . ,(type-of value)) ,@(if sent `((value . ,sent)) '())) found))))))
     (life-module life))
    (list->vector found)))

(define (set-global! life name value)
  (let ((variable (module-local-variable (life-module life) (string->symbol name))))
    (unless (and variable (variable-bound? variable) (not (string-index name #\space)))
      (raise-host-error "FAILED_PRECONDITION" "NO_SUCH_GLOBAL"
                        (string-append "the program has defined no global " name) ""))
    (variable-set! variable value)))
