;;; The sandbox of this process, set up once everything is loaded: services/loki/engines/sandbox.py describes it and
;;; hands over the plan in a pipe. The same steps as Seal.drop and Seal.lock there, by Guile's foreign functions.

(define-module (ygg seal)
  #:use-module (rnrs bytevectors)
  #:use-module (system foreign)
  #:export (seal!))

(define pr-set-pdeathsig 1)
(define pr-set-dumpable 4)
(define landlock-create-ruleset 444)
(define landlock-restrict-self 446)
(define seccomp-set-mode-filter 1)
(define filter-flag-tsync 1)

(define libc (dynamic-link))
(define prctl (pointer->procedure int (dynamic-func "prctl" libc) (list int unsigned-long unsigned-long unsigned-long unsigned-long)))
(define c-read (pointer->procedure ssize_t (dynamic-func "read" libc) (list int '* size_t)))
(define syscall (pointer->procedure long (dynamic-func "syscall" libc) (list long long long long) #:return-errno? #t))

(define (system-call name number . arguments)
  (call-with-values (lambda () (apply syscall number (append arguments (make-list (- 3 (length arguments)) 0))))
    (lambda (result errno)
      (when (< result 0) (error (string-append name ":") (strerror errno)))
      result)))

(define (address bytes) (pointer-address (bytevector->pointer bytes)))

(define (hex->bytes text)
  (let* ((n (quotient (string-length text) 2)) (bytes (make-bytevector n)))
    (do ((i 0 (+ i 1))) ((= i n) bytes)
      (bytevector-u8-set! bytes i (string->number (substring text (* 2 i) (* 2 (+ i 1))) 16)))))

(define (become! uid parent)
  (setgroups #())
  (setgid uid)
  (setuid uid)
  (prctl pr-set-pdeathsig SIGKILL 0 0 0)          ; a change of user forgets it
  (unless (= (getppid) parent) (primitive-_exit 0)))

(define (forgo-files! ruleset)
  (let ((fd (system-call "landlock" landlock-create-ruleset (address ruleset) (bytevector-length ruleset))))
    (system-call "landlock" landlock-restrict-self fd 0)
    (close-fdes fd)))

(define (forgo-calls! number program)
  "PROGRAM is the kernel's struct sock_filter[]; the struct sock_fprog before it is a count, a gap and a pointer."
  (let ((header (make-bytevector 16 0)))
    (bytevector-u16-native-set! header 0 (quotient (bytevector-length program) 8))
    (bytevector-u64-native-set! header 8 (address program))
    (system-call "seccomp" number seccomp-set-mode-filter filter-flag-tsync (address header))))

(define (read-plan fd)
  "The words of the plan; closes FD. Not by a port: its finalizer would start a thread, which the wall forbids, and Guile
aborts."
  (let* ((room (make-bytevector 65536))
         (size (let loop ((at 0))
                 (let ((got (c-read fd (bytevector->pointer room at) (- (bytevector-length room) at))))
                   (if (> got 0) (loop (+ at got)) at))))
         (text (make-bytevector size)))
    (close-fdes fd)
    (bytevector-copy! room 0 text 0 size)
    (string-split (utf8->string text) #\newline)))

(define (raise-wall! parent uid seccomp-call program landlock described)
  (let ((uid (string->number uid)) (program (hex->bytes program)) (ruleset (hex->bytes landlock)))
    (unless (zero? uid) (become! uid (string->number parent)))
    (prctl pr-set-dumpable 0 0 0 0)
    (unless (zero? (bytevector-length ruleset)) (forgo-files! ruleset))
    (setrlimit 'nproc 0 0)
    (forgo-calls! (string->number seccomp-call) program)
    described))

(define (seal! fd)
  "Sets up the sandbox described by the plan behind FD; returns its parts."
  (apply raise-wall! (read-plan fd)))
