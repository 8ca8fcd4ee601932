;;; The state of each program of a worker, and the program that is running.

(define-module (ygg state)
  #:use-module (srfi srfi-9)
  #:export (make-program program? program-run program-label program-device program-args program-memory-bytes
            program-contracts set-program-contracts! program-output set-program-output!
            program-forms set-program-forms! program-image set-program-image! program-winds set-program-winds!
            program-continuation set-program-continuation! program-life set-program-life!
            program-module set-program-module! program-names set-program-names! current-program set-current-program!))

(define-record-type <program>
  (%make-program run label device arguments memory-bytes contracts output forms image winds continuation life module names)
  program?
  (run program-run)                                     ; number of the execution in frames
  (label program-label)                                 ; the script's name in messages
  (device program-device)                               ; id of the default device, or ""
  (arguments program-args)                         ; association list
  (memory-bytes program-memory-bytes)
  (contracts program-contracts set-program-contracts!)  ; device id -> capabilities, as far as asked for
  (output program-output set-program-output!)           ; pieces of the line being written, last first
  (forms program-forms set-program-forms!)              ; the forms read, during compilation
  (image program-image set-program-image!)              ; where its code is loaded, #f until it is compiled
  (winds program-winds set-program-winds!)
  (continuation program-continuation set-program-continuation!)
  (life program-life set-program-life!)                 ; the living program of this turn, or #f
  (module program-module set-program-module!)           ; of the package that is being run, or #f
  (names program-names set-program-names!))             ; names defined by the script

(define (make-program run label device arguments memory-bytes)
  (%make-program run label device arguments memory-bytes '() '() '() #f '() #f #f #f '()))

(define current #f)
(define (current-program) current)
(define (set-current-program! program) (set! current program))
