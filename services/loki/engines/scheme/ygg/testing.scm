;;; For tests of scripts (services/loki/scripts/harness.scm): the handlers are called here, when the test says that time
;;; goes on. Outside of tests the host knows none of these operations.

(define-module (ygg testing)
  #:use-module (ygg control)
  #:use-module (ygg host)
  #:use-module (ygg live)
  #:export (test-operation))

(define (deliver)
  (let ((due (host "test_due")))
    (unless (unspecified? due)
      (let* ((key (assq-ref due 'key)) (entry (assq 'value due)))
        (guard (raised (#t (host "test_handled" key) (raise-exception raised)))
          (handle-here key (if entry (cdr entry) *unspecified*)))
        (host "test_handled" key)
        (deliver)))))

(define (advance seconds)
  (host "test_advance" seconds)
  (deliver))

(define (test-operation name . arguments)
  (case name
    ((begin) (forget-handlers!) (host "test_begin"))
    ((advance) (advance (car arguments)))
    ((event) (apply host "test_event" arguments) (advance 0))
    ((message) (apply host "test_message" arguments) (advance 0))
    ((published) (host "test_published"))
    ((reported) (host "test_reported"))
    (else (apply script-sleep arguments))))
