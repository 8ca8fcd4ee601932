;;; From text to a procedure: read, expanded and compiled among our own bindings and nothing else.
;;;
;;; A script becomes the body of a procedure. So its globals are variables of one call: fresh for every call although
;;; the code is compiled once and kept, and Guile never has to unload a module. Code that was loaded cannot be
;;; unloaded, hence `loaded-bytes`: the worker asks to be replaced when it has loaded a lot.

(define-module (ygg program)
  #:use-module (system base compile)
  #:use-module (system vm loader)
  #:use-module (rnrs bytevectors)
  #:use-module (ygg bindings)
  #:use-module (ygg literals)
  #:use-module (ygg reader)
  #:use-module (ygg state)
  #:export (script-procedure script-module loaded-bytes))

(define max-kept 128)

(define (defined-name form)
  "The name that a plain (define name ...) or (define (name ...) ...) defines, or #f."
  (and (pair? form) (eq? (car form) 'define) (pair? (cdr form))
       (let ((target (cadr form)))
         (cond ((symbol? target) target)
               ((and (pair? target) (symbol? (car target))) (car target))
               (else #f)))))

(define (as-assignment form)
  (let ((target (cadr form)))
    (if (symbol? target)
        `(set! ,@(cdr form))
        `(set! ,(car target) (lambda ,(cdr target) ,@(cddr form))))))

;; The last expression is no tail call, so that its line is still known when it fails. The name is in nobody's way.
(define kept-frame (string->symbol "the result of the script"))

(define (kept form)
  (let ((call (list kept-frame form)))
    (set-source-properties! call (source-properties form))
    (if (equal? form '(values)) form call)))

(define (body-of forms)
  "FORMS as a body: what is defined again is assigned (R7RS 5.3.1), and there is an expression at the end."
  (let ((seen (make-hash-table)))
    (let loop ((forms forms) (body '()))
      (if (null? forms)
          (reverse (cons '(if #f #f) body))
          (let* ((form (car forms)) (name (defined-name form)) (again? (and name (hashq-ref seen name))))
            (when name (hashq-set! seen name #t))
            (if (and (null? (cdr forms)) (not (definition? form)) (not again?))
                (reverse (cons (kept form) body))
                (loop (cdr forms) (cons (if again? (as-assignment form) form) body))))))))

(define (definition? form)
  (and (pair? form)
       (case (car form)
         ((define define-values define-record-type define-syntax define-syntax-rule import) #t)
         ((begin) (or (null? (cdr form)) (not (list? form)) (definition? (car (last-pair form)))))
         (else #f))))

(define (script-module)
  (let ((module (make-module 0 (list script-interface))))
    (set-module-name! module '(script))
    (module-define! module kept-frame (lambda (first . _) first))
    (nested-define-module! (resolve-module '() #f) '(script) module)
    module))

(define (noted forms)
  (when (current-program) (set-program-forms! (current-program) forms))
  forms)

(define loaded 0)
(define (loaded-bytes) loaded)

(define (compiled text label)
  (let* ((forms (noted (read-program text label)))
         (module (script-module))
         (tree (compile `(lambda () ,@(body-of forms))
                        #:env module #:from 'scheme #:to 'tree-il
                        #:optimization-level 0 #:warning-level 0))
         (code (compile (with-fresh-literals tree)
                        #:env module #:from 'tree-il #:to 'bytecode
                        #:optimization-level 2 #:warning-level 0)))
    (set! loaded (+ loaded (bytevector-length code)))
    (save-module-excursion
     (lambda ()
       (set-current-module module)                ; loaded code looks up its globals here
       ((load-thunk-from-memory code))))))

(define procedures (make-hash-table))

(define (script-procedure text label)
  "A procedure of no arguments that runs the script; raises syntax faults and errors."
  (let ((key (string-append label "\n" text)))
    (or (hash-ref procedures key)
        (let ((procedure (compiled text label)))
          (when (>= (hash-count (const #t) procedures) max-kept) (hash-clear! procedures))
          (hash-set! procedures key procedure)
          procedure))))
