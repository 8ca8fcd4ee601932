;;; JSON (RFC 8259) for scripts, and the values of the wire (services/loki/engines/wire.py).
;;;
;;;   exact integer <-> 3       real <-> 3.0      string, symbol, char -> "..."      #t #f <-> true false
;;;   list, vector -> [...]     association list with symbols for keys, hash table -> {...}     bytevector <-> {"b": base64}
;;;   null <-> the symbol null  [...] -> list     {...} -> association list with symbols for keys; {} -> in JSON an empty hash
;;;                                               table, so that it is {} again, from the mesh the empty list

(define-module (ygg json)
  #:use-module (rnrs bytevectors)
  #:export (write-value value->json json->value value->wire wire->value write-string-json number-or-limit))

(define max-depth 64)
(define max-digits 400)

(define (fault message . irritants)
  (apply error message irritants))

;;; Writing.

(define (write-string-json text port)
  (define (escape c)
    (case c
      ((#\") "\\\"") ((#\\) "\\\\") ((#\newline) "\\n") ((#\return) "\\r") ((#\tab) "\\t")
      (else
       (let ((hex (number->string (char->integer c) 16)))
         (string-append "\\u" (make-string (- 4 (string-length hex)) #\0) hex)))))
  (define (special? c)
    (or (char<? c #\space) (char=? c #\") (char=? c #\\) (char=? c #\delete)))
  (write-char #\" port)
  (let loop ((start 0))
    (let ((stop (string-index text special? start)))
      (cond (stop
             (display (substring text start stop) port)
             (display (escape (string-ref text stop)) port)
             (loop (+ stop 1)))
            (else (display (substring text start) port)))))
  (write-char #\" port))

(define (alist? x)
  "Returns whether X is a non-empty proper list of pairs with symbols as keys."
  (and (pair? x) (list? x)
       (let loop ((x x))
         (or (null? x)
             (and (pair? (car x)) (symbol? (caar x)) (loop (cdr x)))))))

(define (write-number x wire? port)
  (cond ((and (exact? x) (integer? x))
         (when (and wire? (not (<= (- (expt 2 63)) x (- (expt 2 63) 1))))
           (fault "an integer does not fit 64 bits:" x))
         (display x port))
        ((not (real? x)) (fault "a complex number is not a value:" x))
        (else
         (let ((x (exact->inexact x)))
           (cond ((nan? x) (if wire? (display "NaN" port) (fault "JSON has no NaN")))
                 ((inf? x) (if wire? (display (if (> x 0) "Infinity" "-Infinity") port) (fault "JSON has no infinity")))
                 (else (display x port)))))))

(define (write-sequence items open close each port)
  (display open port)
  (let loop ((items items) (first? #t))
    (unless (null? items)
      (unless first? (write-char #\, port))
      (each (car items))
      (loop (cdr items) #f)))
  (display close port))

(define (key->string key)
  (cond ((symbol? key) (symbol->string key))
        ((string? key) key)
        (else (fault "the keys of a map are symbols or strings, not" key))))

(define (unique-keys entries)
  "Returns the first entry of each key, as ASSOC finds it."
  (let ((seen (make-hash-table)))
    (let loop ((entries entries) (kept '()))
      (if (null? entries)
          (reverse kept)
          (let ((name (key->string (caar entries))))
            (if (hash-ref seen name #f)
                (loop (cdr entries) kept)
                (begin
                  (hash-set! seen name #t)
                  (loop (cdr entries) (cons (cons name (cdar entries)) kept)))))))))

(define (write-map entries wire? port depth)
  (write-sequence (unique-keys entries) (if wire? "{\"m\":{" "{") (if wire? "}}" "}")
                  (lambda (entry)
                    (write-string-json (car entry) port)
                    (write-char #\: port)
                    (write-value (cdr entry) wire? port (+ depth 1)))
                  port))

(define* (write-value x wire? port #:optional (depth 0))
  "Writes X as JSON to PORT; raises an error for an invalid value."
  (when (> depth max-depth)
    (fault "a value is nested too deep, or contains itself"))
  (cond ((eq? x #t) (display "true" port))
        ((eq? x #f) (display "false" port))
        ((or (eq? x 'null) (unspecified? x)) (display "null" port))
        ((number? x) (write-number x wire? port))
        ((string? x) (write-string-json x port))
        ((symbol? x) (write-string-json (symbol->string x) port))
        ((char? x) (write-string-json (string x) port))
        ((alist? x) (write-map x wire? port depth))
        ((list? x) (write-sequence x "[" "]" (lambda (item) (write-value item wire? port (+ depth 1))) port))
        ((vector? x) (write-value (vector->list x) wire? port depth))
        ((hash-table? x) (write-map (hash-map->list cons x) wire? port depth))
        ((and wire? (bytevector? x))
         (display "{\"b\":\"" port)
         (display (bytevector->base64 x) port)
         (display "\"}" port))
        ((pair? x) (fault "a pair that is neither a list nor an entry of one is not a value"))
        (else (fault "this is not a value:" x))))

(define (written x wire?)
  (call-with-output-string (lambda (port) (write-value x wire? port))))
(define (value->json x) (written x #f))
(define (value->wire x) (string->utf8 (written x #t)))

;;; Base64 (RFC 4648, section 4).

(define alphabet "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")

(define (bytevector->base64 bytes)
  (let ((n (bytevector-length bytes)))
    (define (byte i) (if (< i n) (bytevector-u8-ref bytes i) 0))
    (call-with-output-string
     (lambda (port)
       (do ((i 0 (+ i 3)))
           ((>= i n))
         (let ((bits (logior (ash (byte i) 16) (ash (byte (+ i 1)) 8) (byte (+ i 2)))))
           (define (digit shift) (string-ref alphabet (logand 63 (ash bits (- shift)))))
           (write-char (digit 18) port)
           (write-char (digit 12) port)
           (write-char (if (< (+ i 1) n) (digit 6) #\=) port)
           (write-char (if (< (+ i 2) n) (digit 0) #\=) port)))))))

(define (base64->bytevector text)
  (define (digit c) (or (string-index alphabet c) 0))
  (let* ((n (string-length text))
         (padding (string-count text #\=))
         (bytes (make-bytevector (* 3 (quotient n 4)))))
    (do ((i 0 (+ i 4)) (o 0 (+ o 3)))
        ((>= i n))
      (let ((bits (let loop ((k 0) (bits 0))
                    (if (= k 4) bits (loop (+ k 1) (+ (ash bits 6) (digit (string-ref text (+ i k)))))))))
        (bytevector-u8-set! bytes o (ash bits -16))
        (bytevector-u8-set! bytes (+ o 1) (logand 255 (ash bits -8)))
        (bytevector-u8-set! bytes (+ o 2) (logand 255 bits))))
    (let ((kept (make-bytevector (- (bytevector-length bytes) padding))))
      (bytevector-copy! bytes 0 kept 0 (bytevector-length kept))
      kept)))

;;; Reading. Every reader takes the text and a position and returns a value and the position after it.

(define (bad text at what)
  (fault (string-append "not JSON, line "
                        (number->string (+ 1 (string-count text #\newline 0 (min at (string-length text)))))
                        ", character " (number->string (+ 1 at)) ": " what)))

(define (char-at text at)
  (if (< at (string-length text)) (string-ref text at) #\nul))

(define (skip text at)
  (let ((n (string-length text)))
    (let loop ((at at))
      (if (and (< at n) (memv (string-ref text at) '(#\space #\tab #\newline #\return))) (loop (+ at 1)) at))))

(define (read-hex text at)
  (or (and (<= (+ at 4) (string-length text))
           (string-every char-set:hex-digit text at (+ at 4))
           (string->number (substring text at (+ at 4)) 16))
      (bad text at "four hex digits are missing")))

(define (read-unicode text at)
  (let ((code (read-hex text at)))
    (cond ((and (<= #xd800 code #xdbff) (char=? (char-at text (+ at 4)) #\\) (char=? (char-at text (+ at 5)) #\u))
           (let ((low (read-hex text (+ at 6))))
             (if (<= #xdc00 low #xdfff)
                 (values (integer->char (+ #x10000 (ash (- code #xd800) 10) (- low #xdc00))) (+ at 10))
                 (values #\xfffd (+ at 4)))))
          ((<= #xd800 code #xdfff) (values #\xfffd (+ at 4)))
          (else (values (integer->char code) (+ at 4))))))

(define (read-escape text at)
  (let ((c (char-at text at)))
    (case c
      ((#\" #\\ #\/) (values c (+ at 1)))
      ((#\b) (values #\backspace (+ at 1)))
      ((#\f) (values #\page (+ at 1)))
      ((#\n) (values #\newline (+ at 1)))
      ((#\r) (values #\return (+ at 1)))
      ((#\t) (values #\tab (+ at 1)))
      ((#\u) (read-unicode text (+ at 1)))
      (else (bad text at "an invalid escape")))))

(define (read-text text at)
  (define (stop? c) (or (char=? c #\") (char=? c #\\) (char<? c #\space)))
  (let loop ((at (+ at 1)) (parts '()))
    (let ((stop (string-index text stop? at)))
      (unless stop (bad text (string-length text) "a string without an end"))
      (let ((parts (cons (substring text at stop) parts)))
        (case (string-ref text stop)
          ((#\") (values (string-concatenate-reverse parts) (+ stop 1)))
          ((#\\) (call-with-values (lambda () (read-escape text (+ stop 1)))
                   (lambda (c after) (loop after (cons (string c) parts)))))
          (else (bad text stop "a control character in a string")))))))

(define (read-items text at close each)
  "What EACH reads, comma after comma, up to CLOSE."
  (let ((at (skip text at)))
    (if (char=? (char-at text at) close)
        (values '() (+ at 1))
        (let loop ((at at) (items '()))
          (call-with-values (lambda () (each at))
            (lambda (item after)
              (let* ((after (skip text after)) (c (char-at text after)))
                (cond ((char=? c close) (values (reverse (cons item items)) (+ after 1)))
                      ((char=? c #\,) (loop (skip text (+ after 1)) (cons item items)))
                      (else (bad text after (string-append "a comma or " (string close) " is missing")))))))))))

(define (read-list text at wire? depth)
  (read-items text (+ at 1) #\] (lambda (at) (read-value text at wire? depth))))

(define (read-map text at wire? depth)
  (call-with-values (lambda () (read-entries text at wire? depth))
    (lambda (entries after) (values (if (and (null? entries) (not wire?)) (make-hash-table) entries) after))))

(define (read-entries text at wire? depth)
  (read-items text (+ at 1) #\}
              (lambda (at)
                (unless (char=? (char-at text at) #\") (bad text at "a key in quotes is missing"))
                (call-with-values (lambda () (read-text text at))
                  (lambda (key after)
                    (let ((after (skip text after)))
                      (unless (char=? (char-at text after) #\:) (bad text after "a colon is missing"))
                      (call-with-values (lambda () (read-value text (+ after 1) wire? depth))
                        (lambda (value after) (values (cons (string->symbol key) value) after)))))))))

(define (read-tagged text at depth)
  (define (after-brace value at) (values value (+ at 1)))
  (cond ((string-prefix? "{\"m\":" text 0 5 at)
         (call-with-values (lambda () (read-map text (+ at 5) #t depth)) after-brace))
        ((string-prefix? "{\"b\":" text 0 5 at)
         (call-with-values (lambda () (read-text text (+ at 5)))
           (lambda (digits at) (after-brace (base64->bytevector digits) at))))
        (else (bad text at "neither bytes nor a map"))))

(define words '(("true" . #t) ("false" . #f) ("null" . null)))
(define wire-words '(("NaN" . +nan.0) ("Infinity" . +inf.0) ("-Infinity" . -inf.0)))

(define (read-word text at words)
  (let loop ((words words))
    (cond ((null? words) (values #f #f))
          ((string-prefix? (caar words) text 0 (string-length (caar words)) at)
           (values (car words) (+ at (string-length (caar words)))))
          (else (loop (cdr words))))))

(define (read-number text at)
  (define (digits at) (or (string-skip text char-set:digit* at) (string-length text)))
  (let* ((start (if (char=? (char-at text at) #\-) (+ at 1) at))
         (whole (digits start))
         (fraction (if (char=? (char-at text whole) #\.) (digits (+ whole 1)) whole))
         (exponent (and (memv (char-at text fraction) '(#\e #\E)) (+ fraction 1)))
         (sign (and exponent (if (memv (char-at text exponent) '(#\+ #\-)) (+ exponent 1) exponent)))
         (stop (if sign (digits sign) fraction)))
    (when (or (= whole start)
              (and (char=? (char-at text start) #\0) (> whole (+ start 1)))
              (= fraction (+ whole 1))
              (and sign (= stop sign)))
      (bad text at "a value is missing"))
    (when (> (- stop at) max-digits) (bad text at "a number with too many digits"))
    (let ((number (number-of text at whole stop)))
      (unless number (bad text at "a number out of the range of a double"))
      (values number stop))))

(define (number-of text at whole stop)
  "An exact integer of 64 bits, else a double; #f beyond its range (Guile refuses some of these, and takes others)."
  (let ((number (number-or-limit (substring text at stop))))
    (if (and (= stop whole) (<= (- (expt 2 63)) number (- (expt 2 63) 1)))
        number
        (let ((double (exact->inexact number)))
          (and (not (inf? double)) double)))))

(define (number-or-limit text)
  "The number that TEXT writes; if Guile rejects its exponent, the nearest: 0 or infinity."
  (with-exception-handler
   (lambda (_) (if (or (string-contains text "e-") (string-contains text "E-")) 0.0 +inf.0))
   (lambda () (string->number text 10))
   #:unwind? #t))

(define char-set:digit* (string->char-set "0123456789"))

(define (read-value text at wire? depth)
  (when (> depth max-depth) (bad text at "nested too deep"))
  (let* ((at (skip text at)) (c (char-at text at)))
    (case c
      ((#\") (read-text text at))
      ((#\[) (read-list text at wire? (+ depth 1)))
      ((#\{) (if wire? (read-tagged text at (+ depth 1)) (read-map text at #f (+ depth 1))))
      (else
       (call-with-values (lambda () (read-word text at (if wire? (append words wire-words) words)))
         (lambda (word after)
           (if word (values (cdr word) after) (read-number text at))))))))

(define (read-all text wire?)
  (call-with-values (lambda () (read-value text 0 wire? 0))
    (lambda (value at)
      (let ((at (skip text at)))
        (when (< at (string-length text)) (bad text at "more text after the value"))
        value))))
(define (json->value text) (read-all text #f))
(define (wire->value bytes) (read-all (utf8->string bytes) #t))
