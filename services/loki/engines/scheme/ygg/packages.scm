;;; Linked packages: (import (package units)), with only, except, prefix and rename.
;;;
;;; A package is a program text with a separate module. It runs once, before each program that is linked with it.
;;; It exports its top-level definitions, or those in its (export name ...); only values, since the
;;; free names of a macro would be looked up in the wrong module. An imported variable is the package's own: it may be read, not assigned.

(define-module (ygg packages)
  #:use-module (srfi srfi-9)
  #:use-module (ygg bindings)
  #:use-module (ygg reader)
  #:export (make-package package? package-id package-label package-module package-thunk set-package-thunk!
            fill-exports! exports-of without-exports link-imports! package-key set-linked! linked))

(define-record-type <package>
  (%make-package id label key module exports thunk)
  package?
  (id package-id)
  (label package-label)                           ; `units.scm`
  (key package-key)                               ; checksum of its source
  (module package-module)
  (exports package-exports)                       ; name -> variable
  (thunk package-thunk set-package-thunk!))

(define (make-package id label key module forms)
  "FORMS have claimed their names in MODULE already."
  (%make-package id label key module
                 (map (lambda (name)
                        (cons name (if (memq name (record-names forms))
                                       (make-undefined-variable)
                                       (module-ensure-local-variable! module name))))
                      (exports-of forms))
                 #f))

;;; The packages that a module is linked with, for later evaluations in it.

(define links (make-weak-key-hash-table))
(define (set-linked! module packages) (hashq-set! links module packages))
(define (linked module) (hashq-ref links module '()))

;;; Exports of a package.

(define (target-name target)
  (cond ((symbol? target) target)
        ((pair? target) (target-name (car target)))
        (else #f)))

(define (formal-names x)
  (cond ((pair? x) (if (symbol? (car x)) (cons (car x) (formal-names (cdr x))) '()))
        ((symbol? x) (list x))
        (else '())))

(define (keep keep? items)
  (let loop ((items items) (kept '()))
    (cond ((null? items) (reverse kept))
          ((keep? (car items)) (loop (cdr items) (cons (car items) kept)))
          (else (loop (cdr items) kept)))))

(define (names-of-record form)
  "Those of (define-record-type type (constructor field ...) predicate (field accessor modifier) ...)."
  (keep symbol?
        (apply append
               (list (target-name (cadr form)) (target-name (caddr form)) (and (pair? (cdddr form)) (cadddr form)))
               (map (lambda (field) (if (and (pair? field) (list? field)) (cdr field) '()))
                    (if (pair? (cdddr form)) (cddddr form) '())))))

(define (is? form head least)
  (and (pair? form) (list? form) (eq? (car form) head) (>= (length form) least)))

(define (record-names forms)
  (apply append (map (lambda (form)
                       (cond ((is? form 'define-record-type 3) (names-of-record form))
                             ((is? form 'begin 1) (record-names (cdr form)))
                             (else '())))
                     forms)))

(define (plain-names forms)
  (apply append (map (lambda (form)
                       (cond ((or (is? form 'define 2) (is? form 'define* 2))
                              (let ((name (target-name (cadr form)))) (if name (list name) '())))
                             ((is? form 'define-values 2) (formal-names (cadr form)))
                             ((is? form 'begin 1) (plain-names (cdr form)))
                             (else '())))
                     forms)))

(define (line-of form) (let ((line (source-property form 'line))) (if line (+ line 1) 0)))
(define (fault form . words) (syntax-fault (line-of form) (string-concatenate words)))

(define (exports-of forms)
  "The names that FORMS export; raises a syntax fault for one that they do not define."
  (let* ((defined (append (plain-names forms) (record-names forms)))
         (said (keep (lambda (form) (is? form 'export 1)) forms)))
    (for-each (lambda (form)
                (for-each (lambda (name)
                            (unless (memq name defined)
                              (fault form "export: " (written name) " is not defined here, or is a macro")))
                          (cdr form)))
              said)
    (if (null? said) defined (apply append (map cdr said)))))

(define (written x) (object->string x))

(define (without-exports forms) (keep (lambda (form) (not (is? form 'export 1))) forms))

(define (fill-exports! package)
  "The values of the names of records, once the package has run: Guile binds them to macros that a procedure is behind."
  (for-each
   (lambda (export)
     (unless (eq? (cdr export) (module-local-variable (package-module package) (car export)))
       (let ((found (or (bound-procedure (package-module package)
                                         (symbol-append '% (car export) '-procedure))
                        (bound-procedure (package-module package) (car export)))))
         (when found (variable-set! (cdr export) found)))))
   (package-exports package)))

(define (bound-procedure module name)
  (let ((variable (module-local-variable module name)))
    (and variable (variable-bound? variable) (not (macro? (variable-ref variable))) (variable-ref variable))))

;;; Imports. A set of names is an association list, name -> variable.

(define (root-of set)
  (if (and (pair? set) (memq (car set) '(only except prefix rename)) (pair? (cdr set))) (root-of (cadr set)) set))
(define (package-set? set)
  (let ((root (root-of set))) (and (list? root) (= (length root) 2) (eq? (car root) 'package) (symbol? (cadr root)))))

(define (find-package id packages)
  (cond ((null? packages) #f)
        ((eq? (package-id (car packages)) id) (car packages))
        (else (find-package id (cdr packages)))))

(define (names-of set packages form)
  "The names and variables that an import set means."
  (define (known name names)
    (or (assq name names) (fault form "import: " (written (root-of set)) " exports no " (written name))))
  (define (inner) (names-of (cadr set) packages form))
  (unless (list? set) (fault form "import: " (written set) " is not understood"))
  (case (car set)
    ((only) (let ((names (inner))) (map (lambda (name) (known name names)) (cddr set))))
    ((except)
     (let ((names (inner)))
       (for-each (lambda (name) (known name names)) (cddr set))
       (keep (lambda (entry) (not (memq (car entry) (cddr set)))) names)))
    ((prefix)
     (unless (and (= (length set) 3) (symbol? (caddr set))) (fault form "import: write (prefix SET NAME)"))
     (map (lambda (entry) (cons (symbol-append (caddr set) (car entry)) (cdr entry))) (inner)))
    ((rename)
     (let ((names (inner)))
       (for-each (lambda (pair)
                   (unless (and (list? pair) (= (length pair) 2) (symbol? (cadr pair)))
                     (fault form "import: write (rename SET (THEIRS OURS) ...)"))
                   (known (car pair) names))
                 (cddr set))
       (map (lambda (entry)
              (let ((pair (assq (car entry) (cddr set)))) (if pair (cons (cadr pair) (cdr entry)) entry)))
            names)))
    (else
     (let ((found (find-package (cadr set) packages)))
       (unless found
         (fault form "the package " (written (cadr set)) " is not declared; write ;; @depends "
                (written (cadr set)) " VERSION at the top"))
       (package-exports found)))))

(define (link-imports! module forms packages)
  "Makes the names that FORMS import from PACKAGES known in MODULE; returns them."
  (let ((interface (make-module)) (imported '()))
    (define (take set form)
      (for-each (lambda (entry)
                  (module-add! interface (car entry) (cdr entry))
                  (set! imported (cons (car entry) imported)))
                (names-of set packages form))
      (note-import! module set))
    (let walk ((forms forms))
      (for-each (lambda (form)
                  (cond ((is? form 'begin 1) (walk (cdr form)))
                        ((is? form 'import 1)
                         (for-each (lambda (set) (when (package-set? set) (take set form))) (cdr form)))))
                forms))
    (unless (null? imported)                      ; before the common bindings, so that an import can replace one
      (set-module-duplicates-handlers! module (lookup-duplicates-handlers '(first)))
      (set-module-uses! module (cons interface (module-uses module)))
      (hash-clear! (module-import-obarray module))
      (module-modified module))
    imported))
