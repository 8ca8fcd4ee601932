;;; The reader of scripts: R7RS section 7.1 lexical syntax, and [ ] as parentheses. Guile's own reader is not used,
;;; because it has read-time evaluation, directives and hooks (#. #! #, read-hash-extend) that a script must not reach.
;;;
;;; Owns text to data with positions. Left out: datum labels (#0=), #! directives, but a first line #!/path is skipped, #| inside symbols.
;;; A text may begin with `#lang NAME`, which says what dialect it is in: ((ygg selection) heeds it).

(define-module (ygg reader)
  #:use-module (srfi srfi-4)
  #:use-module ((ygg json) #:select (number-or-limit))
  #:export (read-program lang-of syntax-fault? syntax-fault-line syntax-fault-message syntax-fault))

(define max-depth 500)
(define max-number-length 400)

(define (syntax-fault line message) (raise-exception (list 'syntax-fault line message)))
(define (syntax-fault? x) (and (pair? x) (eq? (car x) 'syntax-fault)))
(define syntax-fault-line cadr)
(define syntax-fault-message caddr)

(define (lang-of text)
  "NAME of a text that begins with `#lang NAME`, else #f."
  (and (string-prefix? "#lang " text)
       (let* ((start (or (string-skip text #\space 5) (string-length text)))
              (end (or (string-index text char-whitespace? start) (string-length text))))
         (substring text start end))))

(define (delimiter? c)
  (or (eof-object? c) (char-whitespace? c) (memv c '(#\( #\) #\[ #\] #\" #\; #\'))))

(define (read-program text name)
  "The data in TEXT, each pair with its source; raises a syntax fault."
  (let ((port (open-input-string text)))
    (define (line) (+ 1 (port-line port)))
    (define (fault at . words) (syntax-fault at (string-concatenate words)))
    (define (next) (read-char port))
    (define (peek) (peek-char port))

    (define (located datum at column)
      (when (pair? datum)
        (set-source-properties! datum `((filename . ,name) (line . ,(- at 1)) (column . ,column))))
      datum)

    (define (skip-line)
      (let ((c (next)))
        (unless (or (eof-object? c) (char=? c #\newline)) (skip-line))))

    (define (skip-block start)                    ; after #|
      (let ((c (next)))
        (cond ((eof-object? c) (fault start "a comment #| has no |#"))
              ((and (char=? c #\|) (eqv? (peek) #\#)) (next))
              ((and (char=? c #\#) (eqv? (peek) #\|)) (next) (skip-block start) (skip-block start))
              (else (skip-block start)))))

    (define (token first)
      (let loop ((chars (list first)))
        (if (delimiter? (peek)) (list->string (reverse chars)) (loop (cons (next) chars)))))

    (define (hex-escape start stop)               ; after \x
      (let loop ((digits '()))
        (let ((c (next)))
          (cond ((eof-object? c) (fault start "an escape \\x has no end"))
                ((char=? c stop)
                 (code->char (string->number (list->string (reverse digits)) 16) start))
                ((and (char-set-contains? char-set:hex-digit c) (< (length digits) 8)) (loop (cons c digits)))
                (else (fault start "\\x is followed by hex digits and ;"))))))

    (define (code->char code start)
      (if (and code (<= code #x10ffff) (not (<= #xd800 code #xdfff)))
          (integer->char code)
          (fault start "there is no such character")))

    (define (skip-blanks)
      (when (memv (peek) '(#\space #\tab)) (next) (skip-blanks)))

    (define (read-quoted stop what)               ; a string, or a symbol in bars
      (let ((start (line)))
        (let loop ((chars '()))
          (let ((c (next)))
            (cond ((eof-object? c) (fault start what " has no end"))
                  ((char=? c stop) (list->string (reverse chars)))
                  ((not (char=? c #\\)) (loop (cons c chars)))
                  (else
                   (let ((e (next)))
                     (case e
                       ((#\n) (loop (cons #\newline chars)))
                       ((#\t) (loop (cons #\tab chars)))
                       ((#\r) (loop (cons #\return chars)))
                       ((#\a) (loop (cons #\alarm chars)))
                       ((#\b) (loop (cons #\backspace chars)))
                       ((#\x) (loop (cons (hex-escape start #\;) chars)))
                       ((#\" #\\ #\|) (loop (cons e chars)))
                       ((#\newline) (skip-blanks) (loop chars))
                       ((#\space #\tab)
                        (skip-blanks)
                        (if (eqv? (next) #\newline)
                            (begin (skip-blanks) (loop chars))
                            (fault start what " has a \\ before a blank")))
                       (else (fault start what " has an invalid escape"))))))))))

    (define names '(("alarm" . #\alarm) ("backspace" . #\backspace) ("delete" . #\delete) ("escape" . #\escape)
                    ("newline" . #\newline) ("null" . #\nul) ("nul" . #\nul) ("return" . #\return)
                    ("space" . #\space) ("tab" . #\tab) ("linefeed" . #\newline) ("page" . #\page)))

    (define (read-character)                      ; after #\
      (let* ((start (line)) (c (next)))
        (when (eof-object? c) (fault start "a character is missing after #\\"))
        (let ((text (if (delimiter? (peek)) (string c) (token c))))
          (cond ((= (string-length text) 1) c)
                ((assoc text names) => cdr)
                ((and (char=? c #\x) (string-every char-set:hex-digit text 1))
                 (code->char (string->number (substring text 1) 16) start))
                (else (fault start "there is no character #\\" text))))))

    (define (atom text start)
      (when (and (> (string-length text) max-number-length) (string->number (substring text 0 20)))
        (fault start "a number with too many digits"))
      (when (string-index text #\#)
        (fault start text " is not a symbol: it has #"))
      (let ((number (and (<= (string-length text) max-number-length) (plain-number text start))))
        (cond (number number)
              ((string-index text #\|) (fault start "a bar in the middle of a symbol"))
              (else (string->symbol text)))))

    (define (plain-number text start)             ; Guile refuses some that are too large, and takes others
      (let ((number (if (memv (string-ref text 0) (string->list "+-.0123456789")) (number-or-limit text) #f)))
        (when (and (real? number) (inexact? number) (inf? number) (not (member text '("+inf.0" "-inf.0"))))
          (fault start text " is out of the range of a double"))
        number))

    (define (radix-number text start)             ; #x1f, #e1.5 and the like
      (when (and (string-index text (lambda (c) (memv c '(#\e #\E))) 2)
                 (string-index text (lambda (c) (memv c '(#\e #\E))) 0 2)
                 (> (string-length text) 12))
        (fault start "an exact number with an exponent this long"))
      (or (and (<= (string-length text) max-number-length) (string->number text))
          (fault start text " is not a number")))

    (define (close-of open) (if (char=? open #\() #\) #\]))

    (define (read-sequence open depth)
      "The items up to the parenthesis that closes OPEN, and the tail after a dot."
      (let ((start (line)) (column (port-column port)) (close (close-of open)))
        (let loop ((items '()))
          (let ((c (skip-to-datum depth)))
            (cond ((eof-object? c) (fault start "this " (string open) " is never closed"))
                  ((char=? c close) (next) (reverse items))
                  ((memv c '(#\) #\]))
                   (fault (line) "a " (string c) " where " (string close) " closes the " (string open) " of line "
                          (number->string start)))
                  ((and (char=? c #\.) (dot?))
                   (if (null? items) (fault (line) "a dot without anything before it"))
                   (let* ((tail (read-datum (+ depth 1))) (end (skip-to-datum depth)))
                     (unless (eqv? end close) (fault (line) "more than one thing after a dot"))
                     (next)
                     (append-reverse items tail)))
                  (else (loop (cons (read-datum (+ depth 1)) items))))))))

    (define (append-reverse items tail)
      (if (null? items) tail (append-reverse (cdr items) (cons (car items) tail))))

    (define (dot?)                                ; takes the dot if it stands alone
      (next)
      (or (delimiter? (peek)) (begin (unread-char #\. port) #f)))

    (define (read-bytes depth start)              ; after #u8
      (unless (eqv? (next) #\() (fault start "#u8 is followed by ("))
      (let ((items (read-sequence #\( depth)))
        (unless (and (list? items) (and-map (lambda (b) (and (exact-integer? b) (<= 0 b 255))) items))
          (fault start "#u8( ) holds integers from 0 to 255"))
        (list->u8vector items)))                  ; it is written as #u8(...), as it was read

    (define (read-hash depth)                     ; after #
      (let* ((start (line)) (c (peek)))
        (cond ((eof-object? c) (fault start "nothing after #"))
              ((char=? c #\() (next)
               (let ((items (read-sequence #\( depth)))
                 (unless (list? items) (fault start "a dot in a vector"))
                 (list->vector items)))
              ((char=? c #\\) (next) (read-character))
              ((char=? c #\!) (fault start "#! is known on the first line only, before a path"))
              (else
               (let ((text (token (next))))
                 (cond ((member text '("t" "true")) #t)
                       ((member text '("f" "false")) #f)
                       ((string=? text "u8") (read-bytes depth start))
                       ((and (char=? (string-ref text 0) #\:) (> (string-length text) 1)) ; #:optional, of define*
                        (symbol->keyword (string->symbol (substring text 1))))
                       ((memv (char-downcase (string-ref text 0)) '(#\x #\b #\o #\d #\e #\i))
                        (radix-number (string-append "#" text) start))
                       (else (fault start "#" text " is not known here"))))))))

    (define (skip-to-datum depth)
      "Skips blanks and comments; the next character, not taken."
      (let ((c (peek)))
        (cond ((eof-object? c) c)
              ((char-whitespace? c) (next) (skip-to-datum depth))
              ((char=? c #\;) (skip-line) (skip-to-datum depth))
              ((char=? c #\#)
               (next)
               (let ((d (peek)))
                 (cond ((eqv? d #\|) (next) (skip-block (line)) (skip-to-datum depth))
                       ((eqv? d #\;) (next) (read-datum (+ depth 1)) (skip-to-datum depth))
                       (else (unread-char #\# port) c))))
              (else c))))

    (define (abbreviation name depth) (list name (read-datum (+ depth 1))))

    (define (read-datum depth)
      (when (> depth max-depth) (fault (line) "nested deeper than " (number->string max-depth)))
      (let* ((c (skip-to-datum depth)) (at (line)) (column (port-column port)))
        (when (eof-object? c) (fault at "the text ends where something is still to come"))
        (next)
        (located
         (case c
           ((#\( #\[) (read-sequence c depth))
           ((#\) #\]) (fault at "a " (string c) " that closes nothing"))
           ((#\') (abbreviation 'quote depth))
           ((#\`) (abbreviation 'quasiquote depth))
           ((#\,) (cond ((eqv? (peek) #\@) (next) (abbreviation 'unquote-splicing depth))
                        (else (abbreviation 'unquote depth))))
           ((#\") (read-quoted #\" "a string"))
           ((#\|) (string->symbol (read-quoted #\| "a symbol")))
           ((#\#) (read-hash depth))
           (else (atom (token c) at)))
         at column)))

    (when (or (string-prefix? "#!/" text) (string-prefix? "#! /" text)) (skip-line))
    (when (lang-of text)                          ; the rest of its line may hold a comment, or the program
      (do ((left (string-length "#lang ") (- left 1))) ((zero? left)) (next))
      (skip-blanks)
      (token #\space))
    (let loop ((forms '()))
      (if (eof-object? (skip-to-datum 0))
          (reverse forms)
          (loop (cons (read-datum 0) forms))))))
