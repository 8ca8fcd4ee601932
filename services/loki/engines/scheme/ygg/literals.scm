;;; Quoted lists, copied for each run.
;;;
;;; Code is compiled once and run often, and Guile lets a program change the pairs of a quoted list. So a run could leave
;;; something behind for the next. Here each quoted list becomes a variable of the run, bound to a copy at its start.
;;; Strings, vectors and bytevectors that are written in the code cannot be changed; Guile sees to that.

(define-module (ygg literals)
  #:use-module (language tree-il)
  #:use-module (ice-9 match)
  #:export (with-fresh-literals fresh))

(define (holds-pair? x)
  (or (pair? x)
      (and (vector? x)
           (let loop ((i 0))
             (and (< i (vector-length x))
                  (or (holds-pair? (vector-ref x i)) (loop (+ i 1))))))))

(define (fresh x)
  "A copy of X with fresh pairs."
  (cond ((pair? x) (let ((head (fresh (car x)))) (cons head (fresh (cdr x)))))
        ((and (vector? x) (holds-pair? x)) (list->vector (map fresh (vector->list x))))
        (else x)))

(define (looked-up-only node)
  "The literal in (if (memv x '(1 2)) ...), the expansion of CASE: no code can reference it."
  (match node
    (($ <conditional> _ ($ <call> _ (or ($ <module-ref> _ _ name) ($ <toplevel-ref> _ _ name)) (_ (? const? literal))))
     (and (memq name '(memv memq)) literal))
    (_ #f)))

(define (with-fresh-literals code)
  "CODE, the tree of a procedure, with its quoted lists bound to copies where its body begins."
  (let ((left-alone '()) (literals '()))
    (define (before node)
      (let ((literal (looked-up-only node)))
        (when literal (set! left-alone (cons literal left-alone))))
      node)
    (define (after node)
      (if (and (const? node) (holds-pair? (const-exp node)) (not (memq node left-alone)))
          (let ((variable (gensym "literal ")))
            (set! literals (acons variable node literals))
            (make-lexical-ref (const-src node) 'literal variable))
          node))
    (pre-order before code)
    (match (post-order after code)
      ((and whole ($ <lambda> src meta ($ <lambda-case> at req opt rest kw inits gensyms body alternate)))
       (if (null? literals)
           whole
           (make-lambda src meta
             (make-lambda-case at req opt rest kw inits gensyms
               (make-let at
                         (map (const 'literal) literals)
                         (map car literals)
                         (map (match-lambda ((_ . node) (copying node))) literals)
                         body)
               alternate)))))))

(define (copying node)
  (make-call (const-src node)
             (make-module-ref (const-src node) '(ygg literals) 'fresh #t)
             (list node)))
