;;; What went wrong in a script, as the fields of a FAIL frame: reason, message, line, traceback, status, hint.

(define-module (ygg failure)
  #:use-module (ice-9 exceptions)
  #:use-module (system vm frame)
  #:use-module (system vm debug)
  #:use-module (ygg reader)
  #:use-module (ygg state)
  #:use-module (ygg suggest)
  #:export (failure failure-of-raised image-of note-image!
            interface-names set-other-dialect! raise-host-error host-error? host-error-status host-error-reason host-error-hint error-text))

(define max-message 600)
(define max-frames 40)

;;; Errors of operations of the host: error objects with status, reason and hint (docs/SCRIPTING.md).

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

(define (error-text raised)
  "What a raised object says, at most max-message characters."
  (string-trim-both
   (bounded-string max-message
    (lambda (port)
      (cond ((not (exception? raised)) (display "raised " port) (write raised port))
            ((unbound-name raised) => (lambda (name) (display (unbound-text name) port)))
            ((not (eq? (exception-kind raised) '%exception))
             (print-exception port #f (exception-kind raised) (exception-args raised)))
            ((exception-with-message? raised)
             (display (exception-message raised) port)
             (when (exception-with-irritants? raised)
               (for-each (lambda (x) (display " " port) (write x port)) (exception-irritants raised))))
            (else (display "an error without a message" port)))))))

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
  "Where the code that holds ADDRESS was loaded, #f for what is not compiled."
  (and=> (find-debug-context address) debug-context-base))

;; Code of packages: where it was loaded -> the name of its file. Code is never unloaded.
(define labels (make-hash-table))
(define (note-image! image label) (hashv-set! labels image label))

(define (label-of image)
  (let ((program (current-program)))
    (cond ((not image) #f)
          ((eqv? image (program-image program)) (program-label program))
          (else (hashv-ref labels image)))))

(define (script-line frame)
  "(line . file) of the script at which FRAME stands, #f where it is not of the script. Code that a macro of ours made has
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
  "The innermost line of the program itself, 0 where there is none."
  (let ((own (or-map (lambda (frame) (and (equal? (cadr frame) (program-label (current-program))) frame)) frames)))
    (if own (car own) 0)))

(define* (failure reason message #:key line (extra '()))
  "The fields of a failure here and now. Where it is a package that failed, the message says in which line of which."
  (let* ((frames (script-frames))
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

(define (syntax-text raised)
  (let ((args (exception-args raised)))
    (bounded-string max-message
      (lambda (port)
        (display (list-ref args 1) port)
        (when (list-ref args 3)
          (display " in " port)
          (write (list-ref args 3) port))))))

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
           (failure "SCRIPT_ERROR" (error-text raised)))
          (else (failure "SYNTAX" (error-text raised))))))
