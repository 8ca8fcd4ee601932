;;; The dialect `steel`: the names that programs of embedded Schemes use, over the host API and nothing else.
;;; docs/reference/scripting.md has the table, docs/adr the reasons. A text is in this dialect unless it says otherwise
;;; ((ygg selection)).
;;;
;;; Owns how a name is spelled and what its handler is called with. Topics, timers and events go through one mapping,
;;; `canonical`: the mesh's names have dots and underscores where these programs have slashes and hyphens.

(define-module (ygg steel)
  #:use-module ((scheme base) #:select (error))
  #:use-module ((srfi srfi-1) #:select (filter-map find) #:prefix list:)
  #:use-module ((ygg callbacks) #:select (delete) #:prefix list:)
  #:use-module (ygg control)
  #:use-module (ygg dialect)
  #:use-module (ygg failure)
  #:use-module (ygg host)
  #:use-module (ygg live)
  #:use-module (ygg state)
  #:export (steel-log log-warn steel-read-sensors steel-device-info steel-memory-info steel-hash-ref steel-hash-get
            steel-hash-try-get steel-hash-contains? mqtt-publish mqtt-subscribe shadow-update set-timer cancel-timer
            cancel-all-timers schedule schedule-interval register-event-handler emit-event steel-store steel-load
            steel-store-delete steel-store-keys steel-delete displayln range void while))

;;; Spelling.

(define max-topic 255)

(define (text-of name what)
  (cond ((string? name) name)
        ((symbol? name) (symbol->string name))
        (else (misuse (string-append "a " what " is named by a string or a symbol")))))

(define (canonical name what)
  "commands/stop-monitoring as commands.stop_monitoring"
  (string-map (lambda (c) (case c ((#\/) #\.) ((#\-) #\_) (else (char-downcase c)))) (text-of name what)))

(define (plain-name name what)
  "Returns a name without levels, such as that of a timer, which has no dots on the mesh."
  (string-map (lambda (c) (if (char=? c #\.) #\_ c)) (canonical name what)))

(define (call-fitting proc . candidates)
  "Calls PROC with the first list of arguments in CANDIDATES that its arity accepts."
  (let* ((arity (procedure-minimum-arity proc))
         (least (if arity (car arity) 0))
         (most (and arity (not (caddr arity)) (+ least (cadr arity))))
         (fits? (lambda (arguments) (<= least (length arguments) (or most 1000)))))
    (apply proc (or (list:find fits? candidates) (car candidates)))))

;;; These programs were written for the device itself, which is never away from its own sensors. A handler that fails
;;; because the device cannot be reached is no error of the program: that is logged, and goes on when it is back.

(define away '("UNAVAILABLE" "DEADLINE_EXCEEDED" "ABORTED"))
(define (away? raised) (and (host-error? raised) (member (host-error-status raised) away) #t))

(define (unless-away what thunk later)
  "Calls THUNK; if the device is offline, logs that with the text of (LATER)."
  (guard (raised ((away? raised)
                  (log-warning (string-append what ": " (error-text raised) (later)))))
    (thunk)))
(define (nothing-later) "")

;;; The log: a level first, or none.

(define levels '(("debug" . "debug") ("info" . "info") ("warn" . "warning") ("warning" . "warning") ("error" . "error")))

(define (level-of item)
  (and (or (string? item) (symbol? item)) (assoc-ref levels (text-of item "level"))))

(define (steel-log . items)
  "(log \"warn\" text ...); (log text ...) is of the level info; (log 100 10) is a logarithm."
  (let ((level (and (pair? items) (pair? (cdr items)) (level-of (car items)))))
    (cond ((not level) (apply script-log items))
          ((equal? level "debug") (apply log-debug (cdr items)))
          ((equal? level "warning") (apply log-warning (cdr items)))
          ((equal? level "error") (apply log-error (cdr items)))
          (else (apply log-info (cdr items))))))
(define (log-warn . items) (apply log-warning items))

;;; Readings and facts, with short keys before the full ones.

(define prefix "sensor.")
(define mains '("value" "level" "state"))

(define (main-property capability)
  "Of a sensor: its only readable property, or the one of a usual name, or the first."
  (let* ((readable (list:filter-map (lambda (p) (and (eq? #t (assq-ref p 'readable)) (assq-ref p 'name)))
                                    (assq-ref capability 'properties)))
         (usual (list:find (lambda (name) (member name mains)) readable)))
    (or usual (and (pair? readable) (car readable)))))

(define (short-names)
  "temperature -> temp0.celsius, for the first sensor of each kind in the contract's order."
  (let loop ((capabilities (capabilities)) (found '()))
    (if (null? capabilities)
        (reverse found)
        (let* ((capability (car capabilities)) (type (assq-ref capability 'type))
               (main (and (string-prefix? prefix type) (main-property capability)))
               (short (and main (string->symbol (string-drop type (string-length prefix))))))
          (loop (cdr capabilities)
                (if (and short (not (assq short found)))
                    (acons short (string->symbol (string-append (assq-ref capability 'id) "." main)) found)
                    found))))))

(define (steel-read-sensors)
  (let ((readings (read-sensors)))
    (append (list:filter-map (lambda (short) (let ((reading (assq (cdr short) readings)))
                                               (and reading (cons (car short) (cdr reading)))))
                             (short-names))
            readings)))

(define (steel-device-info)
  (let ((info (device-info)))
    (append info (map (lambda (pair) (cons (car pair) (assq-ref info (cdr pair))))
                      '((device_id . id) (platform . model) (version . firmware))))))

(define (steel-memory-info)
  "`free` is the memory that a turn may still allocate."
  (let* ((info (memory-info)) (total (assq-ref info 'limit_bytes)) (used (or (assq-ref info 'used_bytes) 0)))
    (append info `((total . ,total) (free . ,(max 0 (- total used)))))))

;;; Tables: what takes one takes an association list, too, as the readings are.

(define nothing (list 'nothing))
(define (looked-up table key default) (get table key default))
(define* (steel-hash-ref table key #:optional (default #f)) (looked-up table key default))
(define (steel-hash-try-get table key) (looked-up table key #f))
(define* (steel-hash-get table key #:optional (default nothing))
  (let ((found (looked-up table key default)))
    (when (eq? found nothing) (error "no such key:" key))
    found))
(define (steel-hash-contains? table key) (not (eq? (looked-up table key nothing) nothing)))

;;; Messages. The payload arrives as text, as these programs expect it: other values as JSON.

(define (checked-topic topic)
  (let ((text (text-of topic "topic")))
    (when (> (string-length text) max-topic) (misuse "a topic has at most 255 characters"))
    text))

(define (mqtt-publish topic payload)
  (let ((text (checked-topic topic)))
    (host "publish" (canonical text "topic") payload text)
    #t))

(define (payload-of message)
  (let ((value (assq-ref message 'value)))
    (if (string? value) value (json-encode value))))

(define (topic-of message)
  (or (assq-ref message 'spelled)
      (string-map (lambda (c) (if (char=? c #\.) #\/ c)) (assq-ref message 'topic))))

(define (with-topic-and-payload proc)
  (lambda (message)
    (let ((topic (topic-of message)) (payload (payload-of message)))
      (call-fitting proc (list topic payload) (list `((topic . ,topic) (payload . ,payload))) '()))))

(define (mqtt-subscribe topic proc)
  (subscribe (canonical (checked-topic topic) "topic") (with-topic-and-payload proc)))

;;; Reported keys of a program, shown in the twin under the program.

(define (shadow-update key value)
  (host "report" (text-of key "key") value)
  #t)

;;; Registered procedures beside the handlers that the host has, under separate keys.

(define (registered name) (hash-ref (handlers) (string-append "steel:" name) '()))
(define (register! name item)
  (hash-set! (handlers) (string-append "steel:" name) (append (registered name) (list item))))

;;; Timers. Those set by `set-timer` fire once; a program sets them again to repeat.

(define* (set-timer name seconds #:optional (proc noop))
  (unless (procedure? proc) (misuse "a timer takes a name, seconds and a procedure"))
  (let ((text (text-of name "timer")))
    (define (ring)
      (call-fitting proc '() (list text))
      (for-each (lambda (each) (call-fitting each (list text) '())) (registered "timer")))
    (define (again)                               ; what would have set it again did not get that far
      (let ((later (if (< seconds 1) 1 seconds)))
        (cond ((member (plain-name name "timer") (armed-names)) "")
              (else (set-timer name later proc)
                    (string-append ". It rings again in " (number->string later) " s")))))
    (after (plain-name name "timer") seconds
           (lambda _ (unless-away (string-append "timer " text) ring again)))
    #t))
(define (cancel-timer name) (cancel (plain-name name "timer")))
(define (cancel-all-timers)
  (for-each cancel (armed-names))
  #t)

(define (next-name what)
  "schedule_1, schedule_2 and so on: the next one of the program."
  (let* ((count (+ 1 (length (registered what)))))
    (register! what count)
    (string-append what "_" (number->string count))))

(define (schedule expression proc)
  (unless (procedure? proc) (misuse "schedule takes a cron expression and a procedure"))
  (cron (next-name "schedule") expression
        (lambda _ (unless-away (string-append "schedule " expression)
                               (lambda () (call-fitting proc '() (list expression)))
                               nothing-later)))
  #t)
(define (schedule-interval seconds proc)
  (unless (procedure? proc) (misuse "schedule-interval takes seconds and a procedure"))
  (every (next-name "interval") seconds
         (lambda _ (unless-away (string-append "every " (number->string seconds) " s")
                                (lambda () (call-fitting proc '() (list seconds)))
                                nothing-later)))
  #t)

;;; Events. All handlers that are registered for one are called, in the order in which they were.

(define sensor-interval 1.0)

(define (call-all event . candidates)
  (for-each (lambda (proc)
              (unless-away (string-append "event " event)
                           (lambda () (apply call-fitting proc candidates))
                           nothing-later))
            (registered event)))

(define (watch-sensors)
  "Calls the handlers of `sensor` with each reading that has changed; with all readings at first."
  (let ((before '()))
    (lambda _
      (let* ((now (guard (raised ((away? raised) before)) (steel-read-sensors))) (last before))
        (set! before now)
        (for-each (lambda (reading)
                    (unless (equal? (assq (car reading) last) reading)
                      (call-all "sensor" (list (symbol->string (car reading)) (cdr reading)) (list now) '())))
                  (short-of now))))))

(define (short-of readings)
  "The readings by short name, or all of them without a name."
  (let ((short (list:filter-map (lambda (pair) (assq (car pair) readings)) (short-names))))
    (if (null? short) readings short)))

(define (register-event-handler event proc)
  (unless (procedure? proc) (misuse "register-event-handler takes the name of an event and a procedure"))
  (let* ((text (text-of event "event")) (first? (null? (registered text))))
    (when first? (listen-to text))
    (register! text proc)
    #t))

(define (listen-to text)
  (cond ((equal? text "mqtt-message")
         (subscribe-all (lambda (message)
                          (let ((topic (topic-of message)) (payload (payload-of message)))
                            (call-all text (list topic payload) (list `((topic . ,topic) (payload . ,payload))) '())))))
        ((equal? text "timer") #t)                ; reported by set-timer
        ((equal? text "sensor") (every "steel_sensors" sensor-interval (watch-sensors)))
        ((or (member text '("online" "offline")) (string-index text #\.))
         (on-event text (lambda (event) (call-all text (list event) '()))))
        (else (on (plain-name text "event") (lambda (data) (call-all text (list data) '()))))))

(define* (emit-event event #:optional (data *unspecified*))
  (let ((name (plain-name event "event")))
    (if (lives?) (emit name data) (host "emit_event" name data))
    #t))

;;; The store. That of a run ends with it.

(define (lives?) (and (program-life (current-program)) #t))
(define (steel-store key value)
  (if (lives?) (store key value) (host "keep" (text-of key "key") value))
  #t)
(define* (steel-load key #:optional (default #f))
  (if (lives?)
      (load key default)
      (let ((found (host "kept" (text-of key "key")))) (if (null? found) default (car found)))))
(define (steel-store-delete key) (if (lives?) (store-delete key) (host "unkeep" (text-of key "key"))))
(define (steel-store-keys) (if (lives?) (store-keys) (host "kept_keys")))
(define (steel-delete x . rest)
  "(delete key) of the store; (delete x list) of SRFI 1."
  (if (null? rest) (steel-store-delete x) (apply list:delete x rest)))

;;; Small things.

(define (displayln x) (script-display x) (script-newline))
(define (void . _) *unspecified*)
(define* (range first #:optional end)
  (let ((from (if end first 0)) (to (or end first)))
    (let loop ((at (- to 1)) (found '())) (if (< at from) found (loop (- at 1) (cons at found))))))
(define-syntax while
  (syntax-rules () ((_ test body ...) (let loop () (when test body ... (loop))))))
