;;; Everything that a script can name: one list, each group with the reason why it is safe, and the only list there is.
;;; A script's module uses the interface defined here and nothing else; an unlisted name is unbound.
;;;
;;; Safe means: it returns (so that limits can strike between two calls), it reaches no file, process, network, module
;;; or other program, and it changes no object that another program can see. docs/reference/scripting.md lists what of R7RS is
;;; left out.

(define-module (ygg bindings)
  #:use-module (ice-9 match)
  #:use-module (system syntax)
  #:use-module (ygg control)
  #:use-module (ygg conveniences)
  #:use-module (ygg dialect)
  #:use-module (ygg failure)
  #:use-module (ygg host)
  #:use-module (ygg live)
  #:use-module ((ygg state) #:select (current-program program-forms))
  #:use-module (ygg steel)
  #:use-module (ygg testing)
  #:use-module ((srfi srfi-1) #:select (append-map filter))
  #:export (script-interface steel-interface interface-of interface-value checked-set! checked-import checked-export note-import!))

;;; Assignment, to variables of the script only: those below belong to every program of the worker.

(define-syntax checked-set!
  (lambda (x)
    (syntax-case x ()
      ((_ name value)
       (identifier? #'name)
       (call-with-values (lambda () (syntax-local-binding #'name))
         (lambda (type _)
           (if (and (eq? type 'global)            ; a program that lives has its own in its module
                    (not (module-local-variable (current-module) (syntax->datum #'name))))
               (syntax-violation 'set! (string-append (symbol->string (syntax->datum #'name))
                                                      " is not a variable of this script; define it first")
                                 x #'name)
               #'(set! name value))))))))           ; which rejects syntax

;;; (import (scheme base)): everything there is, is there already. A library that is not here is refused.

(define libraries
  '(("R7RS without access to the outside: see the groups below, and docs/reference/scripting.md for the omissions."
     (scheme base) (scheme case-lambda) (scheme char) (scheme complex) (scheme cxr) (scheme inexact) (scheme lazy)
     (scheme r5rs) (scheme write))
    ("Clocks, read only." (scheme time))
    ("Lists, multiple values and strings: those of their procedures that are listed below, all pure."
     (srfi 1) (srfi 8) (srfi 13))
    ("The dialect, chosen: see steel-groups below." (yggdrasil steel))))

(define (guile-name library)
  (match library
    (('srfi number) (list 'srfi (string->symbol (string-append "srfi-" (number->string number)))))
    (_ library)))

(define (library-of set)
  (match set
    (('only inner . _) (library-of inner))
    (((or 'prefix 'rename 'except) . _) #f)
    (_ set)))

(define imports (make-weak-key-hash-table))         ; module -> the sets of packages that were linked into it
(define (note-import! module set) (hashq-set! imports module (cons set (hashq-ref imports module '()))))

(define-syntax checked-export                     ; read by (ygg packages) before
  (lambda (x) (syntax-case x () ((_ name ...) #'(begin)))))

(define (import-fault set)
  "Why the library or set of names SET cannot be imported, or #f. Every name that is imported is bound from then on."
  (let* ((library (library-of set))
         (known (and library (or-map (lambda (entry) (and (member library (cdr entry)) library)) libraries))))
    (cond ((member set (hashq-ref imports (current-module) '())) #f)
          ((not library) "prefix, rename and except are for packages; what libraries have is there under its own name")
          ((not known) "this library is not for scripts, or is a package that is not declared")
          ((missing-names set library)
           => (lambda (names)
                (string-append (object->string library) " has no "
                               (string-join (map symbol->string names) ", ") " here (docs/reference/scripting.md lists the omissions)")))
          (else #f))))

(define (missing-names set library)
  "The names that SET imports, or for a whole library those of it that the script uses, and that nothing binds; else #f."
  (let* ((required (match set
                     (('only _ . names) names)
                     (_ (let ((used (names-used)) (left-out (assoc-ref left-out-names library)))
                          (filter (lambda (name) (memq name used)) (or left-out '()))))))
         (missing (filter (lambda (name) (not (module-variable (current-module) name))) required)))
    (and (pair? missing) missing)))

(define (names-used)
  "The names in the compiled text outside of quoted data that it does not bind."
  (let ((forms (if (current-program) (program-forms (current-program)) '())) (used (make-hash-table)) (own (make-hash-table)))
    (define (own! x) (for-each (lambda (name) (hashq-set! own name #t)) (names-in x)))
    (let walk ((x forms))
      (cond ((symbol? x) (hashq-set! used x #t))
            ((not (pair? x)) #f)
            ((memq (car x) '(quote quasiquote import)) #f)
            (else
             (when (and (pair? (cdr x)) (memq (car x) binders)) (own! (cadr x)))
             (when (and (pair? (cdr x)) (symbol? (cadr x)) (pair? (cddr x)) (eq? (car x) 'let)) (own! (caddr x)))
             (when (memq (car x) '(case-lambda case-lambda* define-record-type)) (own! (cdr x)))
             (walk (car x))
             (walk (cdr x)))))
    (hash-for-each (lambda (name _) (hashq-remove! used name)) own)
    (hash-map->list (lambda (name _) name) used)))

(define binders
  '(define define* define-values define-syntax define-syntax-rule lambda lambda* λ let let* letrec letrec* let-values
    let*-values do receive parameterize and-let* guard))

(define-syntax checked-import
  (lambda (x)
    (syntax-case x ()
      ((_ set ...)
       (for-each
        (lambda (set)
          (let ((fault (import-fault (syntax->datum set))))
            (when fault (syntax-violation 'import fault x set))))
        #'(set ...))
       #'(begin)))))

(define (script-call-with-output-string receive) (call-with-output-string receive))
(define (script-hash-for-each proc table)
  "In Scheme, so that PROC may suspend the program."
  (for-each (lambda (entry) (proc (car entry) (cdr entry))) (hash-map->list cons table)))
(define (script-make-hash-table . _) (make-hash-table))
(define (script-string-contains? text part) (and (string-contains text part) #t))

(define groups
  '(("Syntax of the expander: it makes code, it does nothing itself. A transformer other than syntax-rules
gets a syntax object that nothing listed here can take apart."
     (guile)
     and begin case case-lambda cond define define-syntax do else => _ ... if lambda let let*
     letrec letrec* letrec-syntax or quasiquote quote syntax-rules unless unquote unquote-splicing when λ
     define* lambda* define-syntax-rule case-lambda*)
    ("Syntax of R7RS by Guile's own library: expands to the above. A record type is a value without operations."
     (scheme base)
     define-record-type define-values let*-values let-syntax let-values parameterize syntax-error)
    ("Syntax from SRFI 2 and 8, and assertions: expand to the above."
     (ice-9 receive) receive)
    ("The same." (srfi srfi-2) and-let*)
    ("Ours: control that stays within the turn, assignment to the script's own variables, import that checks."
     (ygg control)
     guard (script-with-exception-handler . with-exception-handler) (script-call/cc . call/cc) (script-call/cc . call-with-current-continuation)
     (script-dynamic-wind . dynamic-wind))
    ("Ours, as above." (ygg bindings) (checked-set! . set!) (checked-import . import) (checked-export . export))
    ("Procedures and values: no state."
     (guile)
     apply call-with-values values procedure? identity const compose negate noop)
    ("Equality and booleans: they read. equal? recurses in C, and a C stack overflow costs the worker."
     (guile) boolean? eq? equal? eqv? not)
    ("The same, from R7RS." (scheme base) boolean=? symbol=?)
    ("Parts of parts, from R7RS: they read." (scheme cxr)
     caaaar caaadr caadar caaddr cadaar cadadr caddar cdaaar cdaadr cdadar cdaddr cddaar cddadr cdddar cddddr)
    ("Numbers. A tower of bignums can keep C busy: the watchdog's to end."
     (guile)
     * + - / 1+ 1- < <= = > >= abs acos angle asin atan ceiling complex? cos denominator even? exact->inexact
     exact-integer? exact? exp floor floor-quotient floor-remainder floor/ gcd imag-part inexact->exact
     inexact? inf? integer? lcm magnitude make-polar make-rectangular max min modulo negative? number->string
     number? numerator odd? positive? quotient rational? rationalize real-part real? remainder round sin sqrt
     string->number tan truncate truncate-quotient truncate-remainder truncate/ zero? logand logior logxor lognot
     logbit? logcount integer-length exact-integer-sqrt random)
    ("Numbers, from R7RS." (scheme base) exact inexact square)
    ("The same." (scheme inexact) finite? infinite? nan?)
    ("Pairs and lists: they change only their arguments, and no script shares data with another."
     (guile)
     acons append append! assq assv assq-ref assv-ref assoc-ref assq-set! assv-set! assoc-set! assq-remove! assv-remove!
     assoc-remove! caar cadr car cdar cddr caaar caadr cadar caddr cdaar cdadr cddar cdddr cadddr cdr cons cons*
     last-pair length list list-head list-ref list-set! list-tail list? memq memv null? pair? reverse reverse!
     set-car! set-cdr! delq delv)
    ("Lists, from R7RS." (scheme base) list-copy)
    ("SRFI 1: Scheme code over pairs."
     (srfi srfi-1)
     append-map append-reverse any assoc break concatenate drop drop-right drop-while
     every filter-map find find-tail first second third fourth fifth fold fold-right for-each last list-index
     map member reduce reduce-right span split-at take take-right take-while
     unfold xcons zip)
    ("Ours: what calls a procedure of the script while it works, in Scheme, so that it may suspend the program."
     (ygg callbacks)
     count delete delete-duplicates filter partition remove hash-count hash-map->list sort stable-sort sorted?
     string-any string-every string-count string-delete string-filter string-fold string-for-each string-map
     string-index string-index-right string-skip string-trim string-trim-both string-trim-right)
    ("Symbols. Interned ones are freed with their last use." (guile) string->symbol symbol->string symbol-append symbol?)
    ("Characters." (guile)
     char->integer char-alphabetic? char-ci<=? char-ci<? char-ci=? char-ci>=? char-ci>? char-downcase char-lower-case?
     char-numeric? char-upcase char-upper-case? char-whitespace? char<=? char<? char=? char>=? char>? char?
     integer->char)
    ("Characters, from R7RS." (scheme char)
     char-foldcase digit-value string-ci<=? string-ci>=? string-ci>? string-downcase string-foldcase
     string-upcase)
    ("Strings: a result is new, or the script's own."
     (guile)
     list->string string string->list string-append string-capitalize string-ci=? string-ci<?
     string-concatenate string-contains string-contains-ci string-copy
     string-drop string-drop-right string-fill! string-join string-length string-null? string-prefix?
     string-prefix-ci? string-ref string-replace string-reverse string-set! string-split string-suffix?
     string-suffix-ci? string-take string-take-right string-tokenize
     string<=? string<? string=? string>=? string>? string? substring)
    ("Strings, from R7RS." (scheme base) string-copy! string->vector vector->string string->utf8 utf8->string)
    ("Ours." (ygg bindings) (script-string-contains? . string-contains?))
    ("Vectors." (guile)
     list->vector vector vector-length vector-ref vector-set! vector?)
    ("Vectors and bytevectors, from R7RS." (scheme base)
     vector->list vector-append vector-copy vector-copy! vector-fill! vector-for-each vector-map
     bytevector bytevector-append bytevector-copy bytevector-copy! bytevector-length bytevector-u8-ref
     bytevector-u8-set! bytevector?)
    ("Ours: constructors by size, within the program's memory."
     (ygg bounded)
     (bounded-make-string . make-string) (bounded-make-vector . make-vector)
     (bounded-make-bytevector . make-bytevector) (bounded-make-list . make-list) (bounded-iota . iota)
     (bounded-list-tabulate . list-tabulate) (bounded-string-pad . string-pad)
     (bounded-string-pad-right . string-pad-right) (bounded-expt . expt) (bounded-ash . ash))
    ("Hash tables: the script's own; what takes a procedure is ours, in Scheme."
     (guile)
     hash-clear! hash-ref hash-remove! hash-set! hash-table? hashq-ref hashq-set!
     hashq-remove! hashv-ref hashv-set! hashv-remove!)
    ("Ours." (ygg bindings) (script-hash-for-each . hash-for-each) (script-make-hash-table . make-hash-table))
    ("Promises and parameters: the script makes its own; no parameter of Guile's is listed."
     (scheme base) make-parameter)
    ("Promises, from R7RS." (scheme lazy) delay delay-force force make-promise promise?)
    ("Raising and handling. Limits do not raise, so no handler can hold them up."
     (scheme base)
     error error-object? raise raise-continuable)
    ("Ours: the message of an error, of Guile's own in words instead of a format." (ygg failure)
     host-error? host-error-status host-error-reason host-error-hint
     (script-error-object-message . error-object-message) (script-error-object-irritants . error-object-irritants))
    ("String ports, made by the script. No current port is listed, so no other port can be reached."
     (guile)
     eof-object? get-output-string open-input-string open-output-string peek-char read-char port?)
    ("Ports in memory, from R7RS. What reads without naming a port finds an empty one."
     (scheme base)
     binary-port? call-with-port char-ready? close-input-port close-output-port close-port eof-object file-error?
     flush-output-port get-output-bytevector input-port-open? input-port? open-input-bytevector open-output-bytevector
     output-port-open? output-port? peek-u8 read-bytevector read-bytevector! read-error? read-line read-string read-u8
     textual-port? u8-ready? write-bytevector write-u8)
    ("Ours." (ygg bindings) (script-call-with-output-string . call-with-output-string))
    ("Ours: procedures that scripts for embedded Schemes expect, in Scheme over the above."
     (ygg dialect)
     hash hash-insert hash-get hash-try-get hash-contains? hash-remove hash-length hash-keys->list hash-values->list
     get split-many trim trim-start trim-end with-handler)
    ("Ours: names of the contract as procedures; it reads and writes properties, as property-read does."
     (ygg conveniences) (the-convenience . #{a name of the contract}#))
    ("Unspecified." (guile) *unspecified* unspecified?)
    ("Clocks, read only." (scheme time) current-jiffy jiffies-per-second)
    ("Ours: the host API and what prints into the log (docs/reference/scripting.md)."
     (ygg host)
     devices find-devices with-device device-id device-info capabilities call property-read property-write!
     led-on led-off led-state read-sensors (script-log . log) log-debug log-info log-warning log-error
     (script-sleep . sleep) publish current-time (current-time . current-second) arg args json-encode json-decode
     (script-display . display) (script-write . write) (script-write . write-simple) (script-write-shared . write-shared)
     (script-newline . newline) (script-write-string . write-string) (script-write-char . write-char)
     (script-format . format))
    ("Ours: what programs that live have beside scripts (docs/reference/scripting.md)."
     (ygg live)
     every after cron cancel on-event on-any-event on emit subscribe store load store-delete store-keys
     twin twin-update! uptime memory-info)
    ("Ours: for tests. Only the host of tests has its operations; it calls the script's handlers."
     (ygg testing) (test-operation . #{an operation of tests}#))))

;;; The additions and replacements of the dialect steel, in Scheme over the host API.

(define steel-groups
  '(("Ours: the names of embedded Schemes (docs/reference/scripting.md)."
     (ygg steel)
     (steel-log . log) log-warn (steel-read-sensors . read-sensors) (steel-device-info . device-info)
     (steel-memory-info . memory-info) (steel-hash-ref . hash-ref) (steel-hash-get . hash-get)
     (steel-hash-try-get . hash-try-get) (steel-hash-contains? . hash-contains?) mqtt-publish mqtt-subscribe
     shadow-update set-timer cancel-timer cancel-all-timers schedule schedule-interval register-event-handler
     emit-event (steel-store . store) (steel-load . load) (steel-store-delete . store-delete)
     (steel-store-keys . store-keys) (steel-delete . delete) displayln range void while)
    ("Ours: the host's value of a name that a program defines in terms of itself."
     (ygg bindings) (interface-value . #{the value of the host}#))))

(define (make-interface groups)
  (let ((interface (make-module)))
    (set-module-kind! interface 'interface)
    (set-module-name! interface '(script interface))
    (for-each
     (match-lambda
       ((_ library . names)
        (let ((from (if (equal? library '(ygg bindings)) (current-module) (resolve-module library))))
          (for-each
           (lambda (name)
             (match name
               ((theirs . ours) (module-add! interface ours (variable-of from theirs)))
               (same (module-add! interface same (variable-of from same)))))
           names))))
     groups)
    interface))

(define (variable-of module name)
  (let ((public (if (eq? module (current-module)) module (module-public-interface module))))
    (or (module-variable public name)
        (error "not exported:" (module-name module) name))))

(define (interface-value name)
  (let ((value (module-ref steel-interface name)))
    (if (macro? value) (error "a name of the syntax:" name) value)))
(define script-interface (make-interface groups))
(define steel-interface (make-interface (append groups steel-groups)))
(set-other-dialect! (let ((names '()))
                      (module-for-each (lambda (name _)
                                         (unless (module-variable script-interface name) (set! names (cons name names))))
                                       steel-interface)
                      names))
(define (interface-of dialect) (if (eq? dialect 'steel) steel-interface script-interface))

(define left-out-names                            ; library -> what Guile has of it and scripts have not
  (append-map
   (lambda (entry)
     (map (lambda (library)
            (let ((interface (false-if-exception (resolve-interface (guile-name library)))) (found '()))
              (when interface
                (module-for-each
                 (lambda (name _) (unless (module-variable script-interface name) (set! found (cons name found))))
                 interface))
              (cons library found)))
          (cdr entry)))
   libraries))
