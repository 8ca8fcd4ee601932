;;; Control of a script: suspension at operations of the host, call/cc, dynamic-wind, guard, and the bounds of a turn.
;;;
;;; A turn runs under two prompts:
;;;
;;;     limits   abort here: the turn has ended (interrupted, out of memory or stack, an uncaught error)
;;;       turn   abort here: suspended at an operation, or a full continuation is taken or thrown to
;;;         the script
;;;
;;; Guile's own call/cc and dynamic-wind are not given to scripts. Its continuations would take the worker's loop with
;;; them and so outlive the turn, and its unwinding runs a script's code after the limits have struck. Ours stay inside
;;; the turn prompt and keep a list of winders of their own (R7RS 6.10), which a struck limit simply forgets.

(define-module (ygg control)
  #:use-module (ice-9 control)
  #:use-module ((ice-9 exceptions) #:select (raise-continuable))
  #:use-module ((scheme base) #:select (raise))
  #:use-module (system vm vm)
  #:use-module ((ygg failure) #:select (readable))
  #:export (run-turn suspend suspendable? end-turn interrupt! with-interrupts-held current-winds set-current-winds!
            script-call/cc script-dynamic-wind script-with-exception-handler call-guarded guard))

(define limits-tag (make-prompt-tag 'limits))
(define turn-tag (make-prompt-tag 'turn))

;;; Winders of the running script, innermost first: pairs of before and after.
(define winds '())
(define (current-winds) winds)
(define (set-current-winds! saved) (set! winds saved))

(define (script-dynamic-wind before thunk after)
  (before)
  (set! winds (acons before after winds))
  (call-with-values thunk
    (lambda results
      (set! winds (cdr winds))
      (after)
      (apply values results))))

(define (rewind! target)
  "Leaves the extents that are not in TARGET, innermost first, and enters the others, outermost first."
  (let* ((here (length winds)) (there (length target))
         (common (let loop ((a winds) (m here) (b target) (n there))
                   (cond ((eq? a b) a)
                         ((> m n) (loop (cdr a) (- m 1) b n))
                         ((< m n) (loop a m (cdr b) (- n 1)))
                         (else (loop (cdr a) (- m 1) (cdr b) (- n 1)))))))
    (let leave ()
      (unless (eq? winds common)
        (let ((after (cdar winds)))
          (set! winds (cdr winds))
          (after)
          (leave))))
    (let enter ((target target))
      (unless (eq? target common)
        (enter (cdr target))
        ((caar target))
        (set! winds target)))))

;;; Continuations. Where C code of Guile is in between (a test of guard for an error of C, say) one can only be left, not
;;; entered again.

(define (suspendable?) (suspendable-continuation? turn-tag))

(define (script-call/cc receiver)
  (if (suspendable?)
      ((abort-to-prompt turn-tag 'capture receiver))
      (let ((tag (make-prompt-tag 'escape)) (saved winds))
        (call-with-prompt tag
          (lambda () (receiver (lambda results (rewind! saved) (apply abort-to-prompt tag results))))
          (lambda (_ . results) (apply values results))))))

(define (reified k saved)
  (lambda results
    (rewind! saved)
    (abort-to-prompt turn-tag 'throw (lambda () (k (lambda () (apply values results)))))))

(define (call-guarded thunk dispatch)
  "Calls THUNK; a raised object goes to (DISPATCH object leave), and (LEAVE t) calls T outside, after the winders."
  (let ((tag (make-prompt-tag 'guard)) (saved winds))
    (call-with-prompt tag
      (lambda ()
        (with-exception-handler
         (lambda (raised)
           (dispatch (readable raised) (lambda (t) (abort-to-prompt tag t))))
         thunk))
      (lambda (_ t) (rewind! saved) (t)))))

(define (script-with-exception-handler handler thunk)
  "An error that C code of Guile's has raised is handled outside of that, so that HANDLER may suspend the program. The
winders stay: they are a list of ours."
  (unless (procedure? handler)
    (scm-error 'wrong-type-arg "with-exception-handler" "Wrong type argument in position 1 (expecting procedure): ~S"
               (list handler) (list handler)))
  (let ((tag (make-prompt-tag 'handler)))
    (call-with-prompt tag
      (lambda ()
        (with-exception-handler
         (lambda (raised)
           (let ((raised (readable raised)))
             (if (suspendable?) (handler raised) (abort-to-prompt tag raised))))
         thunk))
      (lambda (_ raised)
        (handler raised)
        (raise raised)))))                        ; it returned, and there is nothing to return to

(define-syntax guard
  (syntax-rules ()
    ((_ (var clause ...) body ...)
     (call-guarded (lambda () body ...)
                   (lambda (var leave) (guard-clauses var leave clause ...))))))
(define-syntax guard-clauses
  (syntax-rules (else =>)
    ((_ var leave) (raise-continuable var))
    ((_ var leave (else e ...)) (leave (lambda () e ...)))
    ((_ var leave (test => f) clause ...)
     (let ((t test)) (if t (leave (lambda () (f t))) (guard-clauses var leave clause ...))))
    ((_ var leave (test) clause ...)
     (let ((t test)) (if t (leave (lambda () t)) (guard-clauses var leave clause ...))))
    ((_ var leave (test e ...) clause ...)
     (if test (leave (lambda () e ...)) (guard-clauses var leave clause ...)))))

;;; Turns.

(define (suspend request)
  "Ends the turn with (call k REQUEST); returns what K is called with a thunk for."
  ((abort-to-prompt turn-tag 'suspend request)))

(define (turn thunk)
  (let loop ((thunk thunk))
    (call-with-prompt turn-tag
      thunk
      (lambda (k what arg)
        (case what
          ((suspend) (list 'call k arg))
          ((capture) (let ((saved winds)) (loop (lambda () (k (lambda () (arg (reified k saved))))))))
          ((throw) (loop arg)))))))

;;; Limits. `running` is true while the script's own code runs: only then may a turn be cut short, so that no frame is
;;; left half written.

(define running #f)
(define pending #f)

(define (end-turn result)
  "Ends the turn immediately, without running more of the script."
  (abort-to-prompt limits-tag result))

(define (interrupt! result)
  "For asyncs: ends the running turn with the result of the thunk RESULT, now or as soon as that is safe."
  (cond (running (end-turn (result)))
        (else (set! pending result))))

(define (with-interrupts-held thunk)
  (set! running #f)
  (let ((value (thunk)))
    (set! running #t)
    (when pending
      (let ((result pending))
        (set! pending #f)
        (end-turn (result))))
    value))

(define (unwinding keys handle thunk)
  (if (null? keys)
      (thunk)
      (catch (car keys) (lambda () (unwinding (cdr keys) handle thunk)) (lambda _ (handle)))))

(define (run-turn thunk stack-words on-overflow on-error exhausted)
  "Runs THUNK as a turn: (done value ...), (call k request), or what ended it. ON-OVERFLOW and ON-ERROR end it.
EXHAUSTED makes the result where Guile's own C code is out of memory or stack: that only unwinds, no handler sees it."
  (set! pending #f)
  (set! running #t)
  (let ((result (call-with-prompt limits-tag
                  (lambda ()
                    (unwinding '(out-of-memory stack-overflow) exhausted
                      (lambda ()
                        (call-with-stack-overflow-handler stack-words
                          (lambda () (turn (lambda () (with-exception-handler on-error thunk))))
                          on-overflow))))
                  (lambda (_ result) result))))
    (set! running #f)
    (set! pending #f)
    result))
