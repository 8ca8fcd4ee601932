;;; Frames over the socket that the service gave us as descriptor 0; services/loki/engines/wire.py has the format.
;;; Owns the socket, and the slice counter (services/loki/engines/slice_counter.py): with it, the ends of turns are delayed until
;;; there is nothing more to read. Knows nothing of programs.

(define-module (ygg wire)
  #:use-module (rnrs bytevectors)
  #:use-module (ice-9 binary-ports)
  #:use-module (system foreign)
  #:export (RUN ANSWER STOP TURN DROP EVENT READY CALL LOG DONE FAIL
            open-wire! open-slice-counter! send-frame receive-frame max-frame-bytes event-program event-key event-value))

(define RUN 1)
(define ANSWER 2)
(define STOP 3)
(define TURN 4)
(define DROP 5)
(define EVENT 6)
(define READY 65)
(define CALL 66)
(define LOG 67)
(define DONE 68)
(define FAIL 69)

(define max-frame-bytes (* 4 1024 1024))
(define standard-input (current-input-port))      ; kept, so that nothing closes the descriptor
(define in #f)
(define out #f)

(define (open-wire!)
  (set! in (fdopen 0 "rb"))
  (set! out (fdopen (dup->fdes 0) "wb"))
  (setvbuf in 'block 65536)
  (setvbuf out 'block 65536))

(define slice-counter #f)                                 ; memory shared with the service, #f where runs are all there is
(define held 0)                                   ; bytes of frames that wait to be sent
(define prot-read-write 3)
(define map-shared 1)

(define (open-slice-counter! fd)
  "Maps the counter of slices that have ended."
  (let* ((mmap (pointer->procedure '* (dynamic-func "mmap" (dynamic-link)) (list '* size_t int int int long)))
         (memory (mmap %null-pointer 4 prot-read-write map-shared fd 0)))
    (when (= (pointer-address memory) (- (expt 2 (* 8 (sizeof '*))) 1)) (error "the slice-counter cannot be mapped"))
    (close-fdes fd)
    (set! slice-counter (pointer->bytevector memory 4))))

(define (count-end!)
  (bytevector-u32-native-set! slice-counter 0 (logand (+ (bytevector-u32-native-ref slice-counter 0) 1) #xffffffff)))

(define (flush!)
  (set! held 0)
  (force-output out))

(define (send-frame kind run payload)
  "Sends PAYLOAD, a bytevector of at most max-frame-bytes."
  (let ((header (make-bytevector 9)))
    (bytevector-u32-set! header 0 (+ 5 (bytevector-length payload)) (endianness big))
    (bytevector-u8-set! header 4 kind)
    (bytevector-u32-set! header 5 run (endianness big))
    (when (and slice-counter (or (= kind DONE) (= kind FAIL) (= kind CALL))) (count-end!))
    (put-bytevector out header)
    (put-bytevector out payload)
    (set! held (+ held 1))
    (unless (and slice-counter (or (= kind DONE) (= kind FAIL)) (< held 256)) (flush!))))

(define (exactly n)
  (let ((bytes (if (zero? n) #vu8() (get-bytevector-n in n))))
    (when (or (eof-object? bytes) (< (bytevector-length bytes) n))
      (primitive-_exit 0))                        ; the service is gone
    bytes))

(define (receive-frame)
  "Returns kind, run and payload of the next frame; ends the process when the service is gone."
  (when (and (> held 0) (not (char-ready? in))) (flush!))
  (let* ((header (exactly 9))
         (length (bytevector-u32-ref header 0 (endianness big)))
         (payload (exactly (- length 5))))
    (values (bytevector-u8-ref header 4) (bytevector-u32-ref header 5 (endianness big)) payload)))

;;; The payload of an EVENT.

(define (key-end payload) (+ 6 (bytevector-u16-ref payload 4 (endianness big))))
(define (slice payload start end)
  (let ((part (make-bytevector (- end start))))
    (bytevector-copy! payload start part 0 (- end start))
    part))
(define (event-program payload) (bytevector-u32-ref payload 0 (endianness big)))
(define (event-key payload) (utf8->string (slice payload 6 (key-end payload))))
(define (event-value payload)
  "JSON; empty for null."
  (slice payload (key-end payload) (bytevector-length payload)))
