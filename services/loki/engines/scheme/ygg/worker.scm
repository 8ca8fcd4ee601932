;;; The loop of a Scheme worker process: guile -e main worker.scm, started by services/loki/engines/bootstrap.py.
;;;
;;; Holds any number of suspended programs and runs one turn at a time. SIGUSR1 from the service means: end the turn
;;; that is running. Memory is the growth of the heap since the worker was ready, measured after each collection.

(define-module (ygg worker)
  #:use-module (rnrs bytevectors)
  #:use-module ((system vm program) #:select (program-code))
  #:use-module (ygg control)
  #:use-module (ygg failure)
  #:use-module (ygg host)
  #:use-module (ygg json)
  #:use-module (ygg live)
  #:use-module (ygg packages)
  #:use-module (ygg program)
  #:use-module (ygg seal)
  #:use-module (ygg state)
  #:use-module (ygg wire)
  #:export (main))

(define retire-heap-bytes (* 96 1024 1024))
(define retire-code-bytes (* 32 1024 1024))

(define idle-garbage-bytes (* 4 1024 1024))

(define walls "")
(define programs (make-hash-table))               ; by run; of programs that live, the turns that are not over
(define lives (make-hash-table))                  ; programs that live, by number
(define living 0)                                 ; how many they are
(define baseline 0)                               ; size of the heap without programs
(define turn-base 0)                              ; its size when the running turn of a living program resumed
(define first-heap-size 0)

(define (heap-used)
  (let ((stats (gc-stats)))
    (- (assq-ref stats 'heap-size) (assq-ref stats 'heap-free-size))))

(define (check-memory)
  (let ((program (current-program)))
    (when (and program (> (- (heap-used) (if (program-life program) turn-base baseline)) (program-memory-bytes program)))
      (system-async-mark                          ; a hook must return; an async need not
       (lambda () (interrupt! (lambda () (failure "MEMORY" "out of memory"))))))))

(define (settle-memory)
  "After a program that used a lot: collects, so that the next one does not pay for it."
  (when (and (zero? living) (zero? (hash-count (const #t) programs)) (> (- (heap-used) baseline) idle-garbage-bytes))
    (gc)
    (set! baseline (heap-used))))

(define (stop-turn signal)
  (when (current-program)
    (interrupt! (lambda () (failure "STOPPED" "stopped")))))

;;; Turns.

(define (turn program thunk)
  (set-current-program! program)
  (let ((life (program-life program)))
    (when life
      (set-current-module (or (program-module program) (life-module life)))
      (set! turn-base (heap-used))))
  (set-current-winds! (program-winds program))
  (let ((result (run-turn thunk
                          (quotient (program-memory-bytes program) 8)
                          (lambda () (end-turn (failure "MEMORY" "the script recurses too deep")))
                          (lambda (raised) (end-turn (failure-of-raised raised)))
                          (lambda () '((reason . "MEMORY") (message . "out of memory"))))))
    (set-program-winds! program (current-winds))
    (when (program-life program) (set-life-contracts! (program-life program) (program-contracts program)))
    (finish-turn program result)
    (set-current-program! #f)
    (settle-memory)))

(define (finish-turn program result)
  (let ((run (program-run program)))
    (case (car result)
      ((call)
       (set-program-continuation! program (cadr result))
       (send-frame CALL run (caddr result)))
      ((done)
       (hashv-remove! programs run)
       (send-done program run (cadr result)))
      (else
       (hashv-remove! programs run)
       (send-failure run result)))))

(define (accounts)
  `((cpu_s . ,(/ (exact->inexact (get-internal-run-time)) internal-time-units-per-second))
    (retire . ,(or (> (- (assq-ref (gc-stats) 'heap-size) first-heap-size) retire-heap-bytes)
                   (> (loaded-bytes) retire-code-bytes)))))

(define (done-before program)
  "What stands in a DONE before its value. Programs that live are asked for no accounts: they end turns all the time."
  (if (program-life program)
      "{\"value\":"
      (let ((rest (value->json (accounts))))
        (string-append (substring rest 0 (- (string-length rest) 1)) ",\"value\":"))))

(define (send-done program run value)
  "VALUE is JSON already: it goes in as it is. The end of a turn of a living program without a result is empty."
  (if (and (eq? value nothing) (program-life program))
      (send-frame DONE run #vu8())
      (send-value program run value)))

(define (send-value program run value)
  (let* ((text (string->utf8 (done-before program)))
         (payload (make-bytevector (+ (bytevector-length text) (bytevector-length value) 1))))
    (bytevector-copy! text 0 payload 0 (bytevector-length text))
    (bytevector-copy! value 0 payload (bytevector-length text) (bytevector-length value))
    (bytevector-u8-set! payload (- (bytevector-length payload) 1) 125)
    (if (> (bytevector-length payload) max-frame-bytes)
        (send-failure run '((reason . "OUTPUT") (message . "the result is too large")))
        (send-frame DONE run payload))))

(define (send-failure run fields)
  (send-frame FAIL run (string->utf8 (value->json (append (accounts) fields)))))

(define (start run job)
  (let* ((label (assq-ref job 'name))
         (source (assq-ref job 'source))
         (arguments (wire->value (string->utf8 (assq-ref job 'args))))
         (program (make-program run label (assq-ref job 'device) arguments (assq-ref job 'memory_bytes))))
    (hashv-set! programs run program)
    (turn program
          (lambda ()
            (let* ((procedure (script-procedure source label)) (home (script-home procedure)))
              (set-program-forms! program '())
              (set-program-names! program (cdr home))
              (set-current-module (car home))
              (set-program-image! program (image-of (program-code procedure)))
              (call-with-values procedure
                (lambda results
                  (flush-output)
                  (list 'done (result->wire (if (null? results) *unspecified* (car results)) source label)))))))))

(define (result->wire value source label)
  (with-exception-handler
   (lambda (raised)
     (end-turn (failure "SCRIPT_ERROR" (string-append "the result of the script is not a value: " (error-text raised))
                        #:line (last-line source label))))
   (lambda () (value->wire value))))

(define (resume program answer)
  (let ((k (program-continuation program)))
    (set-program-continuation! program #f)
    (turn program (lambda () (k (lambda () answer))))))

;;; Living programs. A turn is a separate program record, so that a suspended one is found by its number.

(define (begin-turn run job)
  (let* ((number (assq-ref job 'program)) (what (assq-ref job 'do)) (life (hashv-ref lives number)))
    (cond ((equal? what "check") (check run job))
          ((equal? what "start") (start-life run number job))
          ((not life) (gone run))
          (else (go-on-living run life what (assq-ref job 'key) (assq-ref job 'value))))))

(define (turn-of life run)
  (let ((turn (make-program run (life-label life) (life-device life) (life-arguments life) (life-memory-bytes life))))
    (set-program-life! turn life)
    (set-program-contracts! turn (life-contracts life))
    (set-program-image! turn (life-image life))
    (hashv-set! programs run turn)
    turn))

(define (ended value)
  (flush-output)
  (list 'done (if (unspecified? value) nothing (value->wire value))))
(define nothing (string->utf8 "null"))

(define (in-words results)
  (if (null? results) *unspecified* (car results)))

(define (run-text turn life text label keep?)
  (let ((thunk (program-thunk (life-module life) text label keep?)))
    (set-program-forms! turn '())
    (set-program-image! turn (image-of (program-code thunk)))
    thunk))

;;; Its packages are compiled before any part of it runs, and run before it.

(define (linked-packages job module check-only?)
  (let ((packages (link-packages (or (assq-ref job 'packages) '()) (or (assq-ref job 'uses) '()) module check-only?)))
    (for-each (lambda (package)
                (when (package-thunk package)
                  (note-image! (image-of (program-code (package-thunk package))) (package-label package))))
              packages)
    (set-current-module module)
    packages))

(define (run-package this package)
  (set-program-module! this (package-module package)) ; its definitions after a wait are still its own
  (set-current-module (package-module package))
  ((package-thunk package))
  (fill-exports! package)
  (set-program-module! this #f))

(define (start-life run number job)
  (let* ((arguments (wire->value (string->utf8 (assq-ref job 'args))))
         (life (make-life number (assq-ref job 'name) (assq-ref job 'device) arguments (assq-ref job 'memory_bytes)
                          (module-for (assq-ref job 'source) (assq-ref job 'name))))
         (this (turn-of life run)))
    (unless (hashv-ref lives number) (set! living (+ living 1)))
    (hashv-set! lives number life)
    (turn this
          (lambda ()
            (let* ((packages (linked-packages job (life-module life) #f))
                   (thunk (run-text this life (assq-ref job 'source) (life-label life) #t)))
              (set-life-image! life (program-image this))
              (for-each (lambda (package) (run-package this package)) packages)
              (set-current-module (life-module life))
              (thunk)
              (ended *unspecified*))))))

(define (go-on-living run life what key payload)
  (let ((this (turn-of life run)))
    (turn this
          (lambda ()
            (let ((value (if (string-null? payload) *unspecified* (wire->value (string->utf8 payload)))))
              (cond ((equal? what "eval")
                     (set-program-image! this #f)
                     (call-with-values (run-text this life key "eval" #f)
                       (lambda results (ended (in-words results)))))
                    ((equal? what "globals") (ended (program-globals life value)))
                    (else (set-global! life key value) (ended *unspecified*))))))))

(define (begin-event run payload)
  (let ((life (hashv-ref lives (event-program payload))))
    (if life
        (turn (turn-of life run)
              (lambda ()
                (let* ((json (event-value payload)) (value (if (equal? json #vu8()) 'null (wire->value json))))
                  (handle-event life (event-key payload) (if (eq? value 'null) *unspecified* value))
                  (ended *unspecified*))))
        (gone run))))

(define (gone run)
  (send-frame FAIL run (string->utf8 (value->json '((reason . "STOPPED") (message . "it is gone"))))))

(define (check run job)
  (let ((this (make-program run (assq-ref job 'name) "" '() (* 64 1024 1024))))
    (hashv-set! programs run this)
    (turn this
          (lambda ()
            (let ((module (module-for (assq-ref job 'source) (assq-ref job 'name))))
              (linked-packages job module #t)
              (check-program (assq-ref job 'source) (assq-ref job 'name) module))
            (list 'done (value->wire *unspecified*))))))

(define (drop number)
  (let ((life (hashv-ref lives number)))
    (when life
      (hashv-remove! lives number)
      (set! living (- living 1))
      (for-each (lambda (entry)
                  (when (eq? (program-life (cdr entry)) life) (hashv-remove! programs (car entry))))
                (hash-map->list cons programs)))))

(define (stop program)
  (hashv-remove! programs (program-run program))
  (send-failure (program-run program) '((reason . "STOPPED") (message . "stopped"))))

(define (serve)
  (call-with-values receive-frame
    (lambda (kind run payload)
      (let ((program (hashv-ref programs run)))
        (cond ((= kind RUN) (start run (json->value (utf8->string payload))))
              ((= kind EVENT) (begin-event run payload))
              ((= kind TURN) (begin-turn run (json->value (utf8->string payload))))
              ((= kind DROP) (drop run))
              ((not program) #t)                ; it ended while the service was writing
              ((= kind ANSWER) (resume program payload))
              ((= kind STOP) (stop program))))))
  (serve))

(define (warm-up)
  "Loads the compiler and its modules, so that the first script is as fast as the second; and what Guile loads only
when it prints an error (3.0.10: soft ports), for behind the seal no file can be opened."
  (error-text 'warm-up)
  (arity-text)
  (script-procedure "(define (f x) (guard (e (#t e)) (let loop ((i x)) (if (> i 0) (loop (- i 1)) i)))) (f 10)" "warm-up")
  (script-procedure "(define-record-type point (make-point x) point? (x point-x)) (let-values (((a b) (values 1 2))) a)"
                    "warm-up")
  (check-program "(define x 1) (define (f) (set! x (+ x 1))) (f)" "warm-up" (fresh-module 'steel)))

(define (close-standard-ports!)
  "Descriptor 0 is the socket: what reads or prints without naming a port must not reach it."
  (set-current-input-port (open-input-string ""))
  (set-current-output-port (%make-void-port "w"))
  (set-current-error-port (%make-void-port "w"))
  (current-warning-port (%make-void-port "w")))

(define (open-slice-counter-of! word)
  (unless (string-null? (car word)) (open-slice-counter! (string->number (car word)))))

(define (prepare!)
  (close-standard-ports!)
  (sigaction SIGUSR1 stop-turn)
  (read-enable 'r6rs-hex-escapes)                 ; as in Guile's r7rs mode; it is how strings are written, too
  (read-enable 'r7rs-symbols)
  (set! *random-state* (random-state-from-platform))
  (warm-up)
  (add-hook! after-gc-hook check-memory)
  (gc)
  (open-slice-counter-of! (last-pair (program-arguments)))
  (set! walls (seal! (string->number (cadr (program-arguments)))))
  (set-current-module (script-module))            ; whatever asks for the current module finds the script's
  (set! baseline (heap-used))
  (set! first-heap-size (assq-ref (gc-stats) 'heap-size)))

(define (main . _)
  (open-wire!)
  (with-exception-handler
   (lambda (raised)
     (send-frame FAIL 0 (string->utf8 (value->json `((message . ,(error-text raised))))))
     (primitive-_exit 1))
   prepare!
   #:unwind? #t)
  (send-frame READY 0 (string->utf8 (value->json `((version . ,(string-append "GNU Guile " (version))) (sandbox . ,walls)))))
  (serve))
