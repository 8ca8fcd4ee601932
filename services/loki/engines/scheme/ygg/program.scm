;;; From text to a procedure: read, expanded and compiled among our own bindings and nothing else.
;;;
;;; A script becomes the body of a procedure. So its globals are variables of one call: fresh for every call although
;;; the code is compiled once and kept, and Guile never has to unload a module. Code that was loaded cannot be
;;; unloaded, hence `loaded-bytes`: a worker that has loaded a lot requests its replacement.

(define-module (ygg program)
  #:use-module (system base compile)
  #:use-module (system vm loader)
  #:use-module (rnrs bytevectors)
  #:use-module (ygg bindings)
  #:use-module (ygg conveniences)
  #:use-module (ygg failure)
  #:use-module (ygg literals)
  #:use-module (ygg packages)
  #:use-module (ygg reader)
  #:use-module (ygg selection)
  #:use-module (ygg state)
  #:export (script-procedure script-module script-home loaded-bytes fresh-module module-for program-thunk check-program link-packages last-line))

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

;; The last expression is no tail call, so that its line is still known when it fails. The name conflicts with no other.
(define kept-frame (string->symbol "the result of the script"))

(define (kept form)
  (let ((call (list kept-frame form)))
    (set-source-properties! call (source-properties form))
    (if (equal? form '(values)) form call)))

(define (body-of forms)
  "FORMS as a body: a second definition is an assignment (R7RS 5.3.1), and there is an expression at the end."
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

(define* (script-module #:optional (dialect 'r7rs))
  (let ((module (fresh-module dialect)))
    (nested-define-module! (resolve-module '() #f) '(script) module)
    module))

;; Its text, and the names of the contract that it uses.
(define (conveniently forms dialect imported)
  (let ((interface (interface-of dialect)))
    (with-conveniences (if (eq? dialect 'steel) (map with-its-value forms) forms)
                       (lambda (name) (or (memq name imported) (module-variable interface name))))))

(define (mentions? x name)
  (cond ((symbol? x) (eq? x name))
        ((pair? x) (or (mentions? (car x) name) (mentions? (cdr x) name)))
        (else #f)))

(define (with-its-value form)
  "(define uptime (uptime)), as these programs write it: a variable by the value of the host's name that it replaces."
  (let ((name (and (pair? form) (list? form) (= (length form) 3) (defined-name form))))
    (if (and name (eq? (cadr form) name) (mentions? (caddr form) name) (host-value? name)
             (not (and (pair? (caddr form)) (memq (car (caddr form)) '(lambda λ lambda*)))))
        (let ((meant `(define ,name (let ((,name (,interface-value-name (quote ,name)))) ,(caddr form)))))
          (set-source-properties! meant (source-properties form))
          meant)
        form)))

(define interface-value-name (string->symbol "the value of the host"))
(define (host-value? name)
  (let ((variable (module-variable steel-interface name)))
    (and variable (not (macro? (variable-ref variable))))))

(define (noted forms)
  (when (current-program) (set-program-forms! (current-program) forms))
  forms)

(define loaded 0)
(define (loaded-bytes) loaded)

(define (compiled text label)
  (let* ((read (read-program text label))
         (dialect (dialect-of text read))
         (forms (noted (conveniently read dialect '())))
         (module (script-module dialect))
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
       (let ((procedure ((load-thunk-from-memory code))))
         (hashq-set! homes procedure (cons module (append-map* defined-names forms)))
         procedure)))))

;; The context for suggestions of names: the module, and the definitions of the script.
(define homes (make-weak-key-hash-table))
(define (script-home procedure) (hashq-ref homes procedure))

(define procedures (make-hash-table))

(define (script-procedure text label)
  "A procedure of no arguments that runs the script; raises syntax faults and errors."
  (let ((key (string-append label "\n" text)))
    (or (hash-ref procedures key)
        (let ((procedure (compiled text label)))
          (when (>= (hash-count (const #t) procedures) max-kept) (hash-clear! procedures))
          (hash-set! procedures key procedure)
          procedure))))

(define (last-line text label)
  "The line of the last expression of TEXT, 0 if unknown."
  (let ((forms (read-program text label)))
    (+ 1 (or (and (pair? forms) (source-property (car (last-pair forms)) 'line)) -1))))

;;; A living program has a separate module: its globals persist, and later evaluations see them. The code is
;;; compiled once for all programs of one text; each loads a separate copy.

(define (defined-names form)
  "The names that FORM defines, if they are visible without expansion."
  (cond ((not (and (pair? form) (list? form))) '())
        ((defined-name form) => list)
        ((and (eq? (car form) 'begin)) (append-map* defined-names (cdr form)))
        ((and (eq? (car form) 'define-values) (pair? (cdr form))) (formals (cadr form)))
        (else '())))

(define (append-map* f items) (apply append (map f items)))

(define (formals x)
  (cond ((pair? x) (if (symbol? (car x)) (cons (car x) (formals (cdr x))) '()))
        ((symbol? x) (list x))
        (else '())))

(define* (fresh-module #:optional (dialect 'r7rs))
  (let ((module (make-module 0 (list (interface-of dialect)))))
    (set-module-name! module '(script))
    (module-define! module kept-frame (lambda (first . _) first))
    module))

(define (claim-names! module forms)
  "A definition shadows the interface from the first line on, and may be assigned."
  (for-each (lambda (form)
              (for-each (lambda (name) (module-ensure-local-variable! module name)) (defined-names form)))
            forms))

(define (compiled-in module forms)
  (nested-define-module! (resolve-module '() #f) '(script) module)
  (compile `(begin (if #f #f) ,@forms)
           #:env module #:from 'scheme #:to 'bytecode #:optimization-level 2 #:warning-level 0))

(define codes (make-hash-table))

(define (living-forms module text label)
  "The code to compile in MODULE; the names of the packages that it imports are known there from now on."
  (let* ((forms (read-program text label)) (imported (link-imports! module forms (linked module))))
    (dialect-of text forms)                       ; its declaration must be valid
    (exports-of forms)                            ; it must define its exports
    (conveniently (without-exports forms) (dialect-in module forms) imported)))

(define steel-import '(import (yggdrasil steel)))

(define (dialect-in module forms)
  "The dialect that MODULE has; from an import of steel on it is that."
  (when (and (member steel-import forms) (not (memq steel-interface (module-uses module))))
    (set-module-uses! module (map (lambda (used) (if (eq? used script-interface) steel-interface used))
                                  (module-uses module)))
    (hash-clear! (module-import-obarray module))
    (module-modified module))
  (if (memq steel-interface (module-uses module)) 'steel 'r7rs))

(define (module-for text label)
  "A module of the dialect that TEXT is in. A text that cannot be read says so when it is compiled."
  (fresh-module (with-exception-handler
                 (lambda (_) 'steel)
                 (lambda () (dialect-of text (read-program text label)))
                 #:unwind? #t)))

(define (code-key module text label)
  "The same text differs if it is linked with other packages."
  (string-concatenate `(,label "\n" ,@(map package-key (linked module)) ,text)))

(define (program-code-of module text label keep?)
  (let* ((forms (noted (living-forms module text label)))
         (key (code-key module text label)))
    (claim-names! module forms)
    (or (hash-ref codes key)
        (let ((code (compiled-in module forms)))
          (when keep?
            (when (>= (hash-count (const #t) codes) max-kept) (hash-clear! codes))
            (hash-set! codes key code))
          code))))

(define (program-thunk module text label keep?)
  "A thunk that runs TEXT among the globals of MODULE, which must be the current module."
  (let ((code (program-code-of module text label keep?)))
    (set! loaded (+ loaded (bytevector-length code)))
    (load-thunk-from-memory code)))

(define (check-program text label module)
  "Reads, expands and compiles; executes nothing of it."
  (set-current-module module)
  (let ((forms (noted (living-forms module text label))))
    (claim-names! module forms)
    (compiled-in module forms)
    #t))

;;; Packages, in the order in which they are run. JOBS have id, label, source, checksum and uses (ids).

(define (named-in ids packages)
  (let loop ((packages packages) (found '()))
    (cond ((null? packages) found)
          ((member (symbol->string (package-id (car packages))) ids) (loop (cdr packages) (cons (car packages) found)))
          (else (loop (cdr packages) found)))))

(define (link-packages jobs uses module check-only?)
  "The packages, compiled and not yet run. MODULE is linked with those of USES."
  (let loop ((jobs jobs) (made '()))
    (cond ((null? jobs)
           (set-linked! module (named-in uses made))
           (reverse made))
          (else (loop (cdr jobs) (cons (compiled-package (car jobs) made check-only?) made))))))

(define (compiled-package job made check-only?)
  (let ((label (assq-ref job 'label)) (text (assq-ref job 'source)))
    (in-file label
             (lambda ()
               (define module (module-for text label))
               (set-linked! module (named-in (assq-ref job 'uses) made))
               (set-current-module module)
               (claim-names! module (read-program text label))
               (let ((package (make-package (string->symbol (assq-ref job 'id)) label (assq-ref job 'checksum) module
                                            (read-program text label))))
                 (if check-only?
                     (check-program text label module)
                     (set-package-thunk! package (program-thunk module text label #t)))
                 package)))))

(define (in-file label thunk)
  "A compile error in there is reported with the file: the line of a failure is the program's own."
  (with-exception-handler
   (lambda (raised)
     (let ((failed (failure-of-raised raised)))
       (syntax-fault 0 (string-append label ":" (number->string (assq-ref failed 'line)) ": " (assq-ref failed 'message)))))
   thunk
   #:unwind? #t))
