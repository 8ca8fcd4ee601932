;;; The loop of a Scheme worker process: guile -e main worker.scm, started by services/loki/engines/bootstrap.py.
;;;
;;; Holds any number of suspended programs and runs one turn at a time. SIGUSR1 from the service means: end the turn
;;; that is running. Memory is what the heap has grown by since the worker was ready, looked at after each collection.

(define-module (ygg worker)
  #:use-module (rnrs bytevectors)
  #:use-module ((system vm program) #:select (program-code))
  #:use-module (ygg control)
  #:use-module (ygg failure)
  #:use-module (ygg host)
  #:use-module (ygg json)
  #:use-module (ygg program)
  #:use-module (ygg seal)
  #:use-module (ygg state)
  #:use-module (ygg wire)
  #:export (main))

(define retire-heap-bytes (* 96 1024 1024))
(define retire-code-bytes (* 32 1024 1024))

(define idle-garbage-bytes (* 4 1024 1024))

(define walls "")
(define programs (make-hash-table))
(define baseline 0)                               ; what the heap holds when no program is there
(define first-heap-size 0)

(define (heap-used)
  (let ((stats (gc-stats)))
    (- (assq-ref stats 'heap-size) (assq-ref stats 'heap-free-size))))

(define (check-memory)
  (let ((program (current-program)))
    (when (and program (> (- (heap-used) baseline) (program-memory-bytes program)))
      (system-async-mark                          ; a hook must return; an async need not
       (lambda () (interrupt! (lambda () (failure "MEMORY" "out of memory"))))))))

(define (settle-memory)
  "After a program that used a lot: collects, so that the next one does not pay for it."
  (when (and (zero? (hash-count (const #t) programs)) (> (- (heap-used) baseline) idle-garbage-bytes))
    (gc)
    (set! baseline (heap-used))))

(define (stop-turn signal)
  (when (current-program)
    (interrupt! (lambda () (failure "STOPPED" "stopped")))))

;;; Turns.

(define (turn program thunk)
  (set-current-program! program)
  (set-current-winds! (program-winds program))
  (let ((result (run-turn thunk
                          (quotient (program-memory-bytes program) 8)
                          (lambda () (end-turn (failure "MEMORY" "the script recurses too deep")))
                          (lambda (raised) (end-turn (failure-of-raised raised)))
                          (lambda () '((reason . "MEMORY") (message . "out of memory"))))))
    (set-program-winds! program (current-winds))
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
       (send-done run (cadr result)))
      (else
       (hashv-remove! programs run)
       (send-failure run result)))))

(define (accounts)
  `((cpu_s . ,(/ (exact->inexact (get-internal-run-time)) internal-time-units-per-second))
    (retire . ,(or (> (- (assq-ref (gc-stats) 'heap-size) first-heap-size) retire-heap-bytes)
                   (> (loaded-bytes) retire-code-bytes)))))

(define (send-done run value)
  "VALUE is JSON already: it goes in as it is."
  (let* ((rest (value->json (accounts)))
         (text (string->utf8 (string-append (substring rest 0 (- (string-length rest) 1)) ",\"value\":")))
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
            (let ((procedure (script-procedure source label)))
              (set-program-forms! program '())
              (set-program-image! program (image-of (program-code procedure)))
              (call-with-values procedure
                (lambda results
                  (flush-output)
                  (list 'done (value->wire (if (null? results) *unspecified* (car results)))))))))))

(define (resume program answer)
  (let ((k (program-continuation program)))
    (set-program-continuation! program #f)
    (turn program (lambda () (k (lambda () answer))))))

(define (stop program)
  (hashv-remove! programs (program-run program))
  (send-failure (program-run program) '((reason . "STOPPED") (message . "stopped"))))

(define (serve)
  (call-with-values receive-frame
    (lambda (kind run payload)
      (let ((program (hashv-ref programs run)))
        (cond ((= kind RUN) (start run (json->value (utf8->string payload))))
              ((not program) #t)                ; it ended while the service was writing
              ((= kind ANSWER) (resume program payload))
              ((= kind STOP) (stop program))))))
  (serve))

(define (warm-up)
  "Loads the compiler and what it loads, so that the first script is as fast as the second."
  (script-procedure "(define (f x) (guard (e (#t e)) (let loop ((i x)) (if (> i 0) (loop (- i 1)) i)))) (f 10)" "warm-up")
  (script-procedure "(define-record-type point (make-point x) point? (x point-x)) (let-values (((a b) (values 1 2))) a)"
                    "warm-up"))

(define (close-standard-ports!)
  "Descriptor 0 is the socket: what reads or prints without naming a port must not reach it."
  (set-current-input-port (open-input-string ""))
  (set-current-output-port (%make-void-port "w"))
  (set-current-error-port (%make-void-port "w"))
  (current-warning-port (%make-void-port "w")))

(define (prepare!)
  (close-standard-ports!)
  (sigaction SIGUSR1 stop-turn)
  (set! *random-state* (random-state-from-platform))
  (warm-up)
  (add-hook! after-gc-hook check-memory)
  (gc)
  (set! walls (apply seal! (cdr (program-arguments))))
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
