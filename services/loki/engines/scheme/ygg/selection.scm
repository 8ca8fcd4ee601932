;;; The dialect of a text, by its own declaration; the first that applies:
;;;
;;;     (import (yggdrasil steel))                      steel
;;;     #lang NAME on the first line                    that one
;;;     ;; @dialect NAME in its first comments          that one
;;;     (import (scheme ...)) or (import (srfi ...))    r7rs
;;;     nothing of it                                   steel

(define-module (ygg selection)
  #:use-module (ygg reader)
  #:export (dialect-of))

(define names '(("steel" . steel) ("r7rs" . r7rs)))

(define (named name line)
  (or (assoc-ref names name)
      (syntax-fault line (string-append "there is no dialect " name "; there are steel and r7rs"))))

(define (comment-text line)
  "The text of a line that is only a comment, else #f."
  (let ((line (string-trim-both line)))
    (and (string-prefix? ";" line) (string-trim-both (string-trim line #\;)))))

(define (words text) (string-tokenize text))

(define (in-comments text)
  "What `@dialect` says in the first comments, or #f."
  (let loop ((lines (string-split text #\newline)) (number 1))
    (if (null? lines)
        #f
        (let ((said (comment-text (car lines))))
          (cond ((and (not said) (= number 1) (string-prefix? "#" (car lines))) (loop (cdr lines) (+ number 1)))
                ((not said) #f)
                ((and (string-prefix? "@dialect" said) (= (length (words said)) 2)) (named (cadr (words said)) number))
                ((string-prefix? "@dialect" said) (syntax-fault number "write @dialect NAME, steel or r7rs"))
                (else (loop (cdr lines) (+ number 1))))))))

(define (root set)
  (if (and (pair? set) (memq (car set) '(only except prefix rename)) (pair? (cdr set))) (root (cadr set)) set))

(define (imported forms)
  "The first names of the libraries that FORMS import, and whether steel is among them."
  (let loop ((forms forms) (found '()))
    (cond ((null? forms) found)
          ((and (pair? (car forms)) (eq? (caar forms) 'import) (list? (car forms)))
           (loop (cdr forms) (append (map root (cdar forms)) found)))
          (else (loop (cdr forms) found)))))

(define (dialect-of text forms)
  "steel or r7rs; raises a syntax fault for a dialect that there is not."
  (let* ((libraries (imported forms)) (lang (lang-of text)) (said (if lang (named lang 1) (in-comments text))))
    (cond ((member '(yggdrasil steel) libraries) 'steel)
          (said said)
          ((or-map (lambda (library) (and (pair? library) (memq (car library) '(scheme srfi)))) libraries) 'r7rs)
          (else 'steel))))
