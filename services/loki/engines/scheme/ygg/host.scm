;;; The host API of scripts, and their output. docs/reference/scripting.md has the table; services/loki/host.py implements the
;;; operations. No procedure returns or takes an internal object of the worker.

(define-module (ygg host)
  #:use-module (rnrs bytevectors)
  #:use-module ((ice-9 exceptions) #:select (exception?))
  #:use-module ((ice-9 format) #:prefix full:)
  #:use-module ((scheme write) #:select (write-shared))
  #:use-module (ygg control)
  #:use-module (ygg failure)
  #:use-module (ygg json)
  #:use-module (ygg state)
  #:use-module (ygg wire)
  #:export (flush-output host device misuse
            devices find-devices with-device call-with-device device-id device-info capabilities
            call property-read property-write! led-on led-off led-state read-sensors
            script-log log-debug log-info log-warning log-error
            script-sleep publish current-time arg args json-encode json-decode
            script-display script-write script-write-shared script-newline script-write-string script-write-char script-format))

(define max-line (* 256 1024))

(define (misuse message) (raise-host-error "INVALID_ARGUMENT" "INVALID_REQUEST" message ""))
(define (refuse reason message hint) (raise-host-error "FAILED_PRECONDITION" reason message hint))

;;; One operation. The program is suspended; where C code is in between it cannot be, and others would wait for the worker.

(define (request operation arguments)
  (let ((bytes (with-exception-handler
                (lambda (e) (misuse (error-text e)))
                (lambda () (value->wire (list->vector (cons operation arguments))))
                #:unwind? #t)))
    (when (> (bytevector-length bytes) max-frame-bytes)
      (misuse "the arguments are too large"))
    bytes))

(define (host operation . arguments)
  (unless (program-image (current-program))
    (misuse "operations of the host are for the script, not for its macros"))
  (unless (suspendable?)
    (refuse "CANNOT_WAIT_HERE" "operations of the host cannot be called from within a test of guard"
            "Call them in the body of the clause, before, or after."))
  (let* ((bytes (request operation arguments))
         (answer (wire->value (suspend bytes)))
         (value (cadr answer)))
    (cond ((not (car answer))
           (raise-host-error (assq-ref value 'status) (assq-ref value 'reason)
                             (assq-ref value 'message) (assq-ref value 'hint)))
          ((eq? value 'null) *unspecified*)
          (else value))))

;;; Devices. The one meant is that of the innermost with-device, else the program's default device.

(define chosen (make-fluid #f))

(define (device-id d)
  (cond ((string? d) d)
        ((and (list? d) (pair? d) (pair? (car d)) (assq-ref d 'id)))
        (else (misuse "a device is named by its id or by what (devices) returned for it"))))

(define (device)
  (let ((id (or (fluid-ref chosen) (program-device (current-program)))))
    (when (string-null? id)
      (refuse "NO_DEVICE" "this script has no default device" "Run it with --device ID, or use (with-device \"ID\" ...)."))
    id))

(define (call-with-device d thunk)
  (let ((id (device-id d)))
    (with-fluids ((chosen id)) (thunk))))
(define-syntax with-device
  (syntax-rules ()
    ((_ d body ...) (call-with-device d (lambda () body ...)))))

(define* (devices #:optional (query '())) (host "devices" query))
(define (find-devices . requirements) (host "devices" `((has . ,(list->vector requirements)))))
(define (device-info) (host "device" (device)))

(define (capabilities)
  (let* ((id (device)) (program (current-program)) (known (assoc-ref (program-contracts program) id)))
    (or known
        (let ((found (host "contract" id)))
          (set-program-contracts! program (acons id found (program-contracts program)))
          found))))

(define (split-path path what)
  (let ((parts (if (string? path) (string-split path #\.) '())))
    (unless (and (= (length parts) 2) (not (member "" parts)))
      (misuse (full:format #f "~s names no ~a. Write CAPABILITY.NAME, such as led0.on" path what)))
    parts))

(define* (call path #:optional (arguments '()))
  (apply host "call" (device) (append (split-path path "action") (list arguments))))
(define (property-read path) (apply host "read" (device) (split-path path "property")))
(define (property-write! path value)
  (apply host "write" (device) (append (split-path path "property") (list value)))
  *unspecified*)
(define (read-sensors) (host "sensors" (device)))

(define (led-of id)
  "ID, or the first LED of the device's contract."
  (or id
      (let loop ((found (capabilities)))
        (cond ((null? found) (refuse "NOT_IN_CONTRACT" (string-append (device) " has no actuator.led") ""))
              ((equal? (assq-ref (car found) 'type) "actuator.led") (assq-ref (car found) 'id))
              (else (loop (cdr found)))))))
(define (led! id on?)
  "Returns the state after the call."
  (property-write! (string-append (led-of id) ".on") on?)
  on?)
(define* (led-on #:optional id) (led! id #t))
(define* (led-off #:optional id) (led! id #f))
(define* (led-state #:optional id) (property-read (string-append (led-of id) ".on")))

;;; Log and output. The output of a script becomes log lines.

(define (log-line level text)
  (let* ((text (substring text 0 (min max-line (string-length text))))
         (payload (value->wire (vector level text))))
    (with-interrupts-held (lambda () (send-frame LOG (program-run (current-program)) payload)))
    *unspecified*))

(define (displayed items)
  (string-join (map (lambda (x) (if (string? x) x (shown x display))) items) " "))
(define (log-debug . items) (log-line "debug" (displayed items)))
(define (log-info . items) (log-line "info" (displayed items)))
(define (log-warning . items) (log-line "warning" (displayed items)))
(define (log-error . items) (log-line "error" (displayed items)))

(define (script-log . items)
  "A number's logarithm, to a second number's base; anything else is logged."
  (cond ((and (pair? items) (number? (car items)))
         (if (null? (cdr items)) (log (car items)) (/ (log (car items)) (log (cadr items)))))
        (else (apply log-info items))))

(define (print text)
  (let ((program (current-program)) (newline (string-index text #\newline)))
    (cond (newline
           (set-program-output! program (cons (substring text 0 newline) (program-output program)))
           (let ((line (string-concatenate-reverse (program-output program))))
             (set-program-output! program '())
             (log-line "info" line))
           (print (substring text (+ newline 1))))
          ((not (string-null? text))
           (set-program-output! program (cons text (program-output program)))
           *unspecified*))))
(define (flush-output)
  "Logs a last line that has no end."
  (unless (null? (program-output (current-program))) (print "\n")))

(define* (script-display x #:optional port)
  (let ((text (if (string? x) x (shown x display)))) (if port (display text port) (print text))))
(define* (script-write x #:optional port)
  (let ((text (shown x write))) (if port (display text port) (print text))))
(define* (script-write-shared x #:optional port)
  (let ((text (shown x write-shared))) (if port (display text port) (print text))))
(define* (script-newline #:optional port) (if port (newline port) (print "\n")))
(define* (script-write-char c #:optional port) (if port (write-char c port) (print (string c))))
(define* (script-write-string s #:optional port (start 0) (end (string-length s)))
  (let ((text (substring s start end)))
    (if port (display text port) (print text))))
(define (script-format to . rest)
  "(format #f \"~a\" x) is a string, as is (format \"~a\" x); (format #t ...) prints."
  (cond ((string? to) (formatted to rest))
        ((or (null? rest) (not (string? (car rest)))) (misuse "format takes #f, #t or a port, a text, and values"))
        ((eq? to #t) (print (formatted (car rest) (cdr rest))))
        ((eq? to #f) (formatted (car rest) (cdr rest)))
        ((output-port? to) (display (formatted (car rest) (cdr rest)) to))
        (else (misuse "format takes #f, #t or a port, a text, and values"))))

(define (formatted text values)
  (with-exception-handler
   (lambda (_) (misuse (format-fault text (length values))))
   (lambda ()
     (let ((made (apply full:format #f text (map (lambda (x) (if (exception? x) (error-text x) x)) values))))
       (if (string-contains made "#<") (without-addresses made) made)))
   #:unwind? #t))

(define (format-fault text given)
  (let ((expected (directives text)) (quoted (object->string text)))
    (if (and expected (> expected given))
        (string-append "format: " quoted " wants " (number->string expected) (if (= expected 1) " value, " " values, ")
                       (if (zero? given) "none" (number->string given)) (if (= given 1) " is given" " are given"))
        (string-append "format: " quoted " cannot be filled with these values"))))

(define (directives text)
  "Returns the number of values that TEXT takes, #f if it depends on them."
  (let loop ((at 0) (count 0))
    (let ((tilde (string-index text #\~ at)))
      (if (not tilde)
          count
          (let ((end (string-skip text (lambda (c) (or (char-numeric? c) (memv c '(#\, #\@ #\: #\+ #\-)))) (+ tilde 1))))
            (cond ((not end) count)
                  ((memv (char-downcase (string-ref text end)) '(#\a #\s #\d #\w #\y #\f #\x #\o #\b #\e #\g #\$ #\c #\r))
                   (loop (+ end 1) (+ count 1)))
                  ((memv (string-ref text end) '(#\% #\~ #\newline #\& #\_ #\/ #\t #\T)) (loop (+ end 1) count))
                  (else #f)))))))

;;; The rest.

(define (script-sleep seconds) (host "sleep" seconds))
(define (publish topic value) (host "publish" topic value))
(define (current-time) (host "time"))
(define (args) (program-args (current-program)))
(define* (arg name #:optional (default #f))
  (let ((entry (assq name (args)))) (if entry (cdr entry) default)))
(define (json-encode value) (value->json value))
(define (json-decode text)
  (unless (string? text) (misuse "json-decode takes a string"))
  (json->value text))
