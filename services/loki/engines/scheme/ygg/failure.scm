;;; What went wrong in a script, as the fields of a FAIL frame: reason, message, line, traceback, status, hint.

(define-module (ygg failure)
  #:use-module (ice-9 exceptions)
  #:use-module (system vm frame)
  #:use-module (system vm debug)
  #:use-module ((system vm program) #:select (primitive-code?))
  #:use-module (ygg reader)
  #:use-module (ygg state)
  #:use-module (ygg suggest)
  #:export (failure failure-of-raised image-of note-image!
            interface-names set-other-dialect! raise-host-error host-error? host-error-status host-error-reason host-error-hint

            error-text arity-text readable shown without-addresses script-error-object-message script-error-object-irritants))

(define max-message 600)
(define max-frames 40)

;;; Errors of operations of the host: error objects with status, reason and hint (docs/reference/scripting.md).

(define-exception-type &host-error &error make-host-error host-error?
  (status host-error-status)
  (reason host-error-reason)
  (hint host-error-hint))

(define (raise-host-error status reason message hint)
  (raise-exception (make-exception (make-host-error status reason hint)
                                   (make-exception-with-message message)
                                   (make-exception-with-irritants '()))))

;;; Text of bounded length, whatever is printed.

(define (bounded-string limit proc)
  (let ((tag (make-prompt-tag)) (left limit) (parts '()))
    (define (add text)
      (set! parts (cons (substring text 0 (min left (string-length text))) parts))
      (set! left (- left (string-length text)))
      (when (<= left 0) (abort-to-prompt tag)))
    (define port (make-soft-port (vector (lambda (c) (add (string c))) add (lambda () #t) #f #f) "w"))
    (setvbuf port 'none)
    (call-with-prompt tag
      (lambda () (proc port))
      (lambda (_) (set! parts (cons "…" parts))))
    (string-concatenate-reverse parts)))

(define (address-at text at)
  "Where an address that follows AT ends: a blank and six hex digits or more, then a blank or >; else #f."
  (let* ((start (+ at 1))
         (end (or (string-skip text char-set:hex-digit start) (string-length text))))
    (and (>= (- end start) 6)
         (< end (string-length text))
         (memv (string-ref text end) '(#\space #\>))
         end)))

(define (kind-end text open)
  "The position from which to search the blank after the kind of object that #< at OPEN begins: #<procedure, #<<parameter>, #<input: string."
  (cond ((string-prefix? "#<<" text 0 3 open) (let ((end (string-index text #\> open))) (and end (+ end 1))))
        ((or (string-prefix? "#<input: " text 0 9 open) (string-prefix? "#<output: " text 0 10 open)) (+ open 10))
        (else open)))

(define (without-addresses text)
  "TEXT without where in memory what #<procedure 7f90b4f626c0 at t.scm:1:2 (x)> and its like stand."
  (let loop ((from 0) (kept '()))
    (let* ((open (string-contains text "#<" from))
           (kind (and open (kind-end text open)))
           (blank (and kind (string-index text (lambda (c) (memv c '(#\space #\>))) kind)))
           (end (and blank (char=? (string-ref text blank) #\space) (address-at text blank))))
      (cond ((not open) (string-concatenate-reverse (cons (substring text from) kept)))
            (end (loop end (cons (substring text from blank) kept)))
            (else (loop (+ open 2) (cons (substring text from (+ open 2)) kept)))))))

(define (shown x print)
  "X as PRINT, display or write, prints it; an error by its message."
  (cond ((exception? x) (error-text x))
        ((or (string? x) (number? x) (symbol? x) (char? x) (boolean? x)) (object->string x print))
        (else (without-addresses (object->string x print)))))

(define (words print x)
  (without-addresses (bounded-string max-message (lambda (port) (print x port)))))

(define (error-text raised)
  "The message of a raised object, at most max-message characters."
  (cond ((not (exception? raised)) (string-append "raised " (words write raised)))
        ((unbound-name raised) => unbound-text)
        ((not (eq? (exception-kind raised) '%exception)) (guile-text raised))
        ((exception-with-message? raised)
         (let* ((message (exception-message raised))
                (irritants (if (exception-with-irritants? raised) (exception-irritants raised) '()))
                (named? (and (symbol? message) (pair? irritants) (string? (car irritants)))))
           (words (lambda (_ port)
                    (display message port)
                    (when named? (display ": " port) (display (car irritants) port))
                    (for-each (lambda (x) (display " " port) (write x port)) (if named? (cdr irritants) irritants)))
                  #f)))
        ((non-continuable-error? raised)
         "a handler returned from an error, which cannot go on; catch it with guard, or raise it with raise-continuable")
        (else "an error without a message")))

;;; Errors that Guile raises itself, in words of ours. Their fields are not for scripts: the message is a format, and
;;; what stands among the irritants of a wrong call may be no object at all.

(define (readable raised)
  "RAISED, or for an error of Guile's own an error object with its message. Only while it is being raised is known
which procedure was called with how many arguments."
  (cond ((not (exception? raised)) raised)
        ((memq (exception-kind raised) '(%exception syntax-error out-of-memory stack-overflow)) raised)
        ((hashq-ref readables raised))
        (else
         (let ((made (make-exception (make-error)
                                     (make-exception-with-message (error-text raised))
                                     (make-exception-with-irritants '()))))
           (hashq-set! readables raised made)
           made))))
(define readables (make-weak-key-hash-table))

(define (script-error-object-message x)
  (if (and (exception? x) (exception-with-message? x) (eq? (exception-kind x) '%exception))
      (let ((message (exception-message x))) (if (string? message) message (error-text x)))
      (if (exception? x) (error-text x) (shown x display))))
(define (script-error-object-irritants x)
  (if (and (exception? x) (exception-with-irritants? x) (eq? (exception-kind x) '%exception)) (exception-irritants x) '()))

(define names
  '(("divide" . "/") ("raise-exception" . "raise") ("struct-vtable" . "a procedure of a record type") ("floor-remainder" . "modulo")
    ("floor-quotient" . "floor-quotient") ("truncate-remainder" . "remainder") ("truncate-quotient" . "quotient")))

(define (procedure-words name)
  "NAME as scripts know it, #f for one of C code."
  (let ((name (if (symbol? name) (symbol->string name) name)))
    (cond ((not (string? name)) #f)
          ((assoc-ref names name))
          ((or-map (lambda (prefix) (and (string-prefix? prefix name) (substring name (string-length prefix))))
                   '("script-" "bounded-" "checked-" "r7:")))
          ((string-prefix? "scm_" name) #f)
          (else name))))

(define (guile-text raised)
  (let* ((kind (exception-kind raised)) (args (exception-args raised))
         (standard? (and (list? args) (>= (length args) 3)
                         (string? (cadr args)) (or (not (caddr args)) (list? (caddr args)))))
         (name (and standard? (or (procedure-words (car args)) (raising-procedure)))))
    (cond ((eq? kind 'wrong-number-of-args) (arity-text))
          ((and standard? (eq? kind 'out-of-range) (list? (caddr args)) (= 3 (length (caddr args))))
           (apply range-text name (caddr args)))
          ((eq? kind 'numerical-overflow) (string-append (or name "an operation") ": division by zero"))
          ((not standard?)
           (words (lambda (x port)
                    (display (string-map (lambda (c) (if (char=? c #\-) #\space c)) (symbol->string kind)) port)
                    (display ": " port)
                    (write args port))
                  #f))
          (else
           (let* ((text (words (lambda (x port) (apply simple-format port (cadr args) (or (caddr args) '()))) #f))
                  (clear (clearer kind text)))
             (if name (string-append name ": " clear) clear))))))

(define (range-text name least most value)
  "Guile 3.0.8 gives no object at all as LEAST if a size is negative or too large; it can only be compared."
  (let* ((most-known? (and (exact-integer? most) (< most (expt 2 32))))
         (least (let loop ((i 0)) (cond ((eq? i least) i) ((< i 4096) (loop (+ i 1))) (else #f)))))
    (string-append (if name (string-append name ": ") "") (words write value) " is out of range"
                   (cond ((and least most-known?)
                          (string-append ", " (number->string least) " to " (number->string most) " are allowed"))
                         (most-known? (string-append ", at most " (number->string most) " is allowed"))
                         (else "")))))

(define (after prefix text) (and (string-prefix? prefix text) (substring text (string-length prefix))))

(define (clearer kind text)
  "Returns a message of Guile in plain words."
  (cond ((after "Wrong type argument in position " text)
         => (lambda (rest)                        ; 1 (expecting pair): 5
              (let* ((colon (string-contains rest ": "))
                     (value (if colon (substring rest (+ colon 2)) "?"))
                     (position (substring rest 0 (or (string-index rest (lambda (c) (memv c '(#\space #\:)))) 1)))
                     (open (string-contains rest "(expecting "))
                     (expected (and open colon (< open colon) (substring rest (+ open 11) (- colon 1)))))
                (string-append "argument " position " is " value
                               (if expected (string-append ", not " (article expected)) ", which it does not take")))))
        ((after "Wrong type (expecting " text)    ; string): 1
         => (lambda (rest)
              (let ((close (string-contains rest "): ")))
                (if close
                    (string-append "an argument is " (substring rest (+ close 3)) ", not " (article (substring rest 0 close)))
                    text))))
        ((after "Wrong type to apply: " text)
         => (lambda (value) (string-append value " is called and is not a procedure")))
        ((after "Argument " text)                 ; 2 out of range: 5
         => (lambda (rest) (string-append "argument " rest)))
        ((after "Wrong type argument: " text)
         => (lambda (value) (string-append "an argument is " value ", which it does not take")))
        ((after "Apply to non-list: " text)
         => (lambda (value) (string-append "the last argument is " value ", not a list")))
        ((after "Wrong number of values returned to continuation (expected " text)
         => (lambda (rest) (string-append (string-trim-right rest #\)) (if (equal? rest "1)") " value is" " values are")
                                          " expected here, another number of them was returned")))
        (else text)))

(define (article noun)
  (let ((noun (or (assoc-ref '(("struct" . "record") ("hash-table" . "hash table") ("empty list" . "list")) noun) noun)))
    (with-article noun)))
(define (with-article noun)
  (string-append (if (memv (string-ref noun 0) '(#\a #\e #\i #\o #\u)) "an " "a ") noun))

(define (raising-frame)
  "The frame below the one that raises: that of the call that failed. #f if it is not found."
  (let loop ((frame (let ((stack (make-stack #t))) (and stack (stack-ref stack 0)))) (raising? #f) (count 0))
    (cond ((or (not frame) (> count 60)) #f)
          (raising? frame)
          (else (loop (frame-previous frame) (eq? (frame-procedure-name frame) 'raise-exception) (+ count 1))))))

(define (raising-procedure)
  "The name of Guile's own procedure that failed, #f for other procedures."
  (let ((frame (raising-frame)))
    (and frame
         (primitive-code? (frame-instruction-pointer frame))
         (procedure-words (frame-procedure-name frame)))))

(define (arity-text)
  "Which procedure was called with how many arguments."
  (let ((frame (raising-frame)))
    (or (and frame (frame-arity-text frame)) "a procedure was called with a wrong number of arguments")))

(define frame-num-locals (@@ (system vm frame) frame-num-locals))
(define frame-local-ref (@@ (system vm frame) frame-local-ref))

(define (frame-arity-text frame)
  (let* ((here (frame-instruction-pointer frame))
         (locals (frame-num-locals frame))
         (info (find-program-debug-info here)))
    (cond (info
           (let ((arities (find-program-arities (program-debug-info-addr info))))
             (and (pair? arities)
                  (wrong-call (or (procedure-words (frame-procedure-name frame)) (unnamed frame))
                              (map (lambda (a) (list (arity-nreq a) (arity-nopt a) (arity-has-rest? a))) arities)
                              (- locals (if (arity-has-closure? (car arities)) 1 0))))))
          ((primitive-code? here)
           (let ((procedure (frame-local-ref frame 0 'scm)))
             (and (procedure? procedure)
                  (wrong-call (or (procedure-words (procedure-name procedure)) "a procedure")
                              (list (procedure-minimum-arity procedure))
                              (- locals 1)))))
          (else #f))))

(define (unnamed frame)
  (let ((place (script-line frame)))
    (if place (string-append "the procedure of line " (number->string (car place))) "a procedure")))

(define (wrong-call name arities given)
  "ARITIES: lists of required, optional, and whether there may be more."
  (let* ((least (apply min (map car arities)))
         (rest? (or-map caddr arities))
         (most (apply max (map (lambda (a) (+ (car a) (cadr a))) arities)))
         (count (cond (rest? (string-append "at least " (number->string least)))
                      ((zero? most) "no")
                      ((zero? least) (string-append "at most " (number->string most)))
                      ((= least most) (number->string most))
                      ((= most (+ least 1)) (string-append (number->string least) " or " (number->string most)))
                      (else (string-append (number->string least) " to " (number->string most))))))
    (string-append name " takes " count (if (= 1 (if rest? least most)) " argument, not " " arguments, not ")
                   (if (zero? given) "none" (number->string given)))))

;;; A name that stands for nothing, and the one that was probably meant.

(define (unbound-name raised)
  (and (eq? (exception-kind raised) 'unbound-variable)
       (let ((args (exception-args raised)))
         (and (list? args) (= (length args) 4) (pair? (list-ref args 2)) (symbol? (car (list-ref args 2)))
              (car (list-ref args 2))))))

(define (names-of modules)
  "The names that MODULES bind, as strings, without those that only we can write."
  (let ((found '()))
    (define (take name variable)
      (let ((text (symbol->string name)))
        (when (and (variable-bound? variable) (not (string-index text #\space)))
          (set! found (cons text found)))))
    (for-each (lambda (module) (module-for-each take module)) modules)
    found))

(define (interface-names) (names-of (module-uses (current-module))))
(define (own-names)
  (append (map symbol->string (if (current-program) (program-names (current-program)) '()))
          (names-of (list (current-module)))))

(define other-dialect '())                        ; names that the dialect steel has and r7rs has not
(define (set-other-dialect! names) (set! other-dialect names))

(define (unbound-text name)
  (let ((text (symbol->string name)))
    (string-trim-both
     (string-append text " is not defined. "
                    (if (memq name other-dialect)
                        "The dialect steel has it: (import (yggdrasil steel))"
                        (did-you-mean text (append (own-names) (interface-names))))))))

;;; Where.

(define (image-of address)
  "Returns the load address of the code around ADDRESS, #f for code that is not compiled."
  (and=> (find-debug-context address) debug-context-base))

;; Code of packages: load address -> file name. Code is never unloaded.
(define labels (make-hash-table))
(define (note-image! image label) (hashv-set! labels image label))

(define (label-of image)
  (let ((program (current-program)))
    (cond ((not image) #f)
          ((eqv? image (program-image program)) (program-label program))
          (else (hashv-ref labels image)))))

(define (script-line frame)
  "(line . file) of the script at which FRAME stands, #f outside of the script. Code that a macro of ours made has
our own file as its source; the line is then the last one of the script before it."
  (let* ((here (frame-instruction-pointer frame))
         (label (label-of (image-of here)))
         (info (and label (find-program-debug-info here))))
    (and info
         (let loop ((at here))
           (let ((source (find-source-for-addr at)))
             (cond ((and source (equal? (source-file source) label)) (cons (source-line-for-user source) label))
                   ((> (- at 4) (program-debug-info-addr info)) (loop (- at 4)))
                   (else #f)))))))

(define (script-frames)
  "(line file procedure name or #f) of each frame of the script and its packages, innermost first."
  (let* ((stack (make-stack #t))
         (frame (and stack (stack-ref stack 0))))
    (let loop ((frame frame) (count 0) (found '()))
      (if (or (not frame) (>= count 400) (>= (length found) max-frames))
          (reverse found)
          (let ((place (script-line frame)))
            (loop (frame-previous frame)
                  (+ count 1)
                  (if place (cons (list (car place) (cdr place) (frame-procedure-name frame)) found) found)))))))

(define (place frame) (string-append (cadr frame) ":" (number->string (car frame))))

(define (traceback frames)
  (string-join
   (map (lambda (frame)
          (string-append (place frame) (if (caddr frame) (string-append ": in " (symbol->string (caddr frame))) "")))
        frames)
   "\n"))

(define (first-own frames)
  "Returns the innermost line of the program itself, 0 without one."
  (let ((own (or-map (lambda (frame) (and (equal? (cadr frame) (program-label (current-program))) frame)) frames)))
    (if own (car own) 0)))

(define* (failure reason message #:key line (extra '()) (from identity))
  "The fields of a failure here and now. If a package failed, the message names its line and file."
  (let* ((frames (from (script-frames)))
         (foreign? (and (pair? frames) (not line) (not (equal? (cadar frames) (program-label (current-program)))))))
    (append `((reason . ,reason)
              (message . ,(if foreign? (string-append (place (car frames)) ": " message) message))
              (line . ,(or line (first-own frames)))
              (traceback . ,(traceback frames)))
            extra)))

(define (line-of form forms)
  "The line of the first part of FORMS that equals FORM: the expander does not always say which one it blames."
  (let search ((x forms))
    (and (pair? x)
         (or (and (equal? x form) (source-property x 'line))
             (search (car x))
             (search (cdr x))))))

(define (syntax-line raised)
  "The line that Guile's expander blames, or #f."
  (let* ((args (exception-args raised))
         (where (and (list? args) (> (length args) 2) (list-ref args 2)))
         (line (cond ((vector? where) (vector-ref where 1))
                     ((and (pair? where) (list? where)) (assq-ref where 'line))
                     ((and (list? args) (> (length args) 3))
                      (line-of (list-ref args 3) (program-forms (current-program))))
                     (else #f))))
    (and (integer? line) (+ line 1))))

(define shapes                                    ; how the syntax of the language is written
  '((if . "(if TEST THEN ELSE)")
    (define . "(define NAME VALUE) or (define (NAME ARGUMENT ...) BODY ...)")
    (lambda . "(lambda (ARGUMENT ...) BODY ...)")
    (let . "(let ((NAME VALUE) ...) BODY ...)")
    (let* . "(let* ((NAME VALUE) ...) BODY ...)")
    (letrec . "(letrec ((NAME VALUE) ...) BODY ...)")
    (cond . "(cond (TEST RESULT ...) ... (else RESULT ...))")
    (case . "(case KEY ((DATUM ...) RESULT ...) ... (else RESULT ...))")
    (do . "(do ((NAME FIRST NEXT) ...) (TEST RESULT ...) BODY ...)")
    (when . "(when TEST BODY ...)")
    (unless . "(unless TEST BODY ...)")
    (set! . "(set! NAME VALUE)")
    (guard . "(guard (NAME CLAUSE ...) BODY ...)")
    (define-record-type . "(define-record-type NAME (MAKE FIELD ...) PREDICATE (FIELD GET) ...)")))

(define (syntax-text raised)
  (let* ((args (exception-args raised)) (message (list-ref args 1)) (form (list-ref args 3))
         (head (and (pair? form) (symbol? (car form)) (car form)))
         (unmatched? (or (equal? message "source expression failed to match any pattern")
                         (and head (equal? message (string-append "bad " (symbol->string head))))
                         (equal? message "invalid clause")))
         (shape (and head unmatched? (assq-ref shapes head))))
    (bounded-string max-message
      (lambda (port)
        (cond (shape
               (display head port)
               (display " is written " port)
               (display shape port)
               (display ", not" port))
              ((and head unmatched?)
               (display head port)
               (display " is not written like this:" port))
              (else
               (display message port)
               (when form (display " in" port))))
        (when form
          (display " " port)
          (write form port))))))

(define (failure-of-raised raised)
  "The fields for an object that the script raised and did not catch."
  (let ((kind (and (exception? raised) (exception-kind raised))))
    (cond ((syntax-fault? raised)
           (failure "SYNTAX" (syntax-fault-message raised) #:line (syntax-fault-line raised)))
          ((eq? kind 'syntax-error)
           (failure "SYNTAX" (syntax-text raised) #:line (syntax-line raised)))
          ((memq kind '(out-of-memory stack-overflow))
           (failure "MEMORY" "out of memory"))
          ((host-error? raised)
           (failure (host-error-reason raised) (exception-message raised)
                    #:extra `((status . ,(host-error-status raised)) (hint . ,(host-error-hint raised)))))
          ((program-image (current-program))
           (failure "SCRIPT_ERROR" (error-text raised) #:from (if (eq? kind 'wrong-number-of-args) own-call identity)))
          (else (failure "SYNTAX" (error-text raised))))))

(define (own-call frames)
  "FRAMES from that which made a wrong call: the innermost is that of the procedure called, if that is the script's."
  (let ((called (raising-frame)))
    (if (and called (script-line called) (pair? frames) (pair? (cdr frames))) (cdr frames) frames)))
