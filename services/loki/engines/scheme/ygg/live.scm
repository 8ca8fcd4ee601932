;;; What programs that live have beside scripts: timers, schedules, handlers, own events, messages, a store, twins.
;;;
;;; Handlers are kept here by key ("timer:tick", "event:porch-1/temp0.over", "message:alarm", "own:cooled"); the host is
;;; told what to send. In a script that is only executed the host refuses all but twins.

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
            twin twin-update! uptime memory-info subscribe-all armed-names))

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

;; The handler is there before the host knows: what is due at once may come while we still wait for its answer.
(define (register key handler once? . request)
  (unless (procedure? handler) (misuse "a handler is a procedure"))
  (let* ((life (program-life (current-program)))
         (handlers (if life (life-handlers life) (make-hash-table)))
         (once (if life (life-once life) (make-hash-table)))
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

(define (name-of name what)
  (cond ((symbol? name) (symbol->string name))
        ((string? name) name)
        (else (misuse (string-append "a " what " is named by a string or a symbol")))))

(define (timer kind once?)
  (lambda (name when handler)
    (let ((name (name-of name "timer")))
      (register (string-append "timer:" name) handler once? "timer" kind name when))))
(define after (timer "after" #t))
(define every-interval (timer "every" #f))
(define cron (timer "cron" #f))
(define (cancel name)
  (let* ((name (name-of name "timer")) (was (host "cancel" name)))
    (when (and was (program-life (current-program))) (hash-remove! (life-handlers (program-life (current-program))) (string-append "timer:" name)))
    was))

(define (every first . rest)
  "(every \"tick\" 1.5 proc) is a timer; (every pred list ...) is that of SRFI 1."
  (if (procedure? first)
      (let loop ((lists rest))
        (cond ((or-map null? lists) #t)
              ((or-map null? (map cdr lists)) (apply first (map car lists)))
              ((apply first (map car lists)) (loop (map cdr lists)))
              (else #f)))
      (apply every-interval first rest)))

(define (event-of device path handler)
  (let* ((path (name-of path "event")) (parts (string-split path #\.)))
    (cond ((member path '("online" "offline"))
           (register (string-append "event:" device "/" path) handler #f "listen" device "" path))
          ((and (= (length parts) 2) (not (member "" parts)))
           (register (string-append "event:" device "/" path) handler #f "listen" device (car parts) (cadr parts)))
          (else (misuse "an event is named CAPABILITY.NAME, such as temp0.over")))))
(define (on-event path handler) (event-of (device) path handler))
(define (on-any-event path handler) (event-of "*" path handler))

(define (on name handler)
  (let ((name (name-of name "event")))
    (register (string-append "own:" name) handler #f "own" name)))
(define* (emit name #:optional (value *unspecified*)) (host "emit" (name-of name "event") value) *unspecified*)
(define (subscribe topic handler)
  (let ((topic (name-of topic "topic")))
    (register (string-append "message:" topic) handler #f "subscribe" topic)))

;; Every message of the mesh but the program's own.
(define (subscribe-all handler) (register "message:*" handler #f "subscribe_all"))

(define (armed-names)
  "The timers that have a handler."
  (let ((life (program-life (current-program))))
    (if life
        (let loop ((keys (hash-map->list (lambda (key handler) (and handler key)) (life-handlers life))) (found '()))
          (cond ((null? keys) found)
                ((and (car keys) (string-prefix? "timer:" (car keys)))
                 (loop (cdr keys) (cons (string-drop (car keys) (string-length "timer:")) found)))
                (else (loop (cdr keys) found))))
        '())))

(define (store key value) (host "store" (name-of key "key") value) *unspecified*)
(define* (load key #:optional (default #f))
  (let ((found (host "load" (name-of key "key"))))
    (if (null? found) default (car found))))
(define (store-delete key) (host "forget" (name-of key "key")))
(define (store-keys) (host "keys"))

(define (twin) (host "twin" (device)))
(define (twin-update! document) (host "twin_update" (device) document))
(define (uptime) (host "uptime"))
(define (memory-info) (host "memory" 0))

;;; For the worker.

(define (handle-event life key value)
  (let ((handler (hash-ref (life-handlers life) key)))
    (when (hash-ref (life-once life) key)
      (hash-remove! (life-handlers life) key)
      (hash-remove! (life-once life) key))
    (when handler (handler value))))

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
  "#(VALUE) where it is a value that can travel, else #f."
  (and (not (procedure? value)) (not (unspecified? value))
       (with-exception-handler
        (lambda (_) #f)
        (lambda () (and (<= (string-length (value->json value)) 65536) (vector value)))
        #:unwind? #t)))

(define (program-globals life wanted)
  (let ((found '()))
    (module-for-each
     (lambda (name variable)
       (let ((text (symbol->string name)))
         (when (and (variable-bound? variable)
                    (not (string-index text #\space))
                    (not (macro? (variable-ref variable)))
                    (or (null? wanted) (member text wanted)))
           (let* ((value (variable-ref variable)) (told (sendable value)))
             (set! found (cons `((name . ,text) (type . ,(type-of value)) ,@(if told `((value . ,told)) '())) found))))))
     (life-module life))
    (list->vector found)))

(define (set-global! life name value)
  (let ((variable (module-local-variable (life-module life) (string->symbol name))))
    (unless (and variable (variable-bound? variable) (not (string-index name #\space)))
      (raise-host-error "FAILED_PRECONDITION" "NO_SUCH_GLOBAL"
                        (string-append "the program has defined no global " name) ""))
    (variable-set! variable value)))
