;;; Frames over the socket that the service gave us as descriptor 0; services/loki/engines/wire.py has the format.
;;; Owns the socket. Knows nothing of programs.

(define-module (ygg wire)
  #:use-module (rnrs bytevectors)
  #:use-module (ice-9 binary-ports)
  #:export (RUN ANSWER STOP TURN DROP READY CALL LOG DONE FAIL open-wire! send-frame receive-frame max-frame-bytes))

(define RUN 1)
(define ANSWER 2)
(define STOP 3)
(define TURN 4)
(define DROP 5)
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

(define (send-frame kind run payload)
  "Sends PAYLOAD, a bytevector of at most max-frame-bytes."
  (let ((header (make-bytevector 9)))
    (bytevector-u32-set! header 0 (+ 5 (bytevector-length payload)) (endianness big))
    (bytevector-u8-set! header 4 kind)
    (bytevector-u32-set! header 5 run (endianness big))
    (put-bytevector out header)
    (put-bytevector out payload)
    (force-output out)))

(define (exactly n)
  (let ((bytes (if (zero? n) #vu8() (get-bytevector-n in n))))
    (when (or (eof-object? bytes) (< (bytevector-length bytes) n))
      (primitive-_exit 0))                        ; the service is gone
    bytes))

(define (receive-frame)
  "Returns kind, run and payload of the next frame; ends the process when the service is gone."
  (let* ((header (exactly 9))
         (length (bytevector-u32-ref header 0 (endianness big)))
         (payload (exactly (- length 5))))
    (values (bytevector-u8-ref header 4) (bytevector-u32-ref header 5 (endianness big)) payload)))
