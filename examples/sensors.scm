#lang r7rs
;;; List all sensors of a device with their units, and publish the readings.
;;; Run:  ygg script run examples/sensors.scm --device porch-1

;; (capabilities) returns the device's contract as nested lists and association lists.
(define units
  (append-map
   (lambda (capability)
     (map (lambda (property)
            (cons (string->symbol (string-append (assq-ref capability 'id) "." (assq-ref property 'name)))
                  (assq-ref property 'unit)))
          (assq-ref capability 'properties)))
   (capabilities)))

(define readings
  (sort (read-sensors)
        (lambda (a b) (string<? (symbol->string (car a)) (symbol->string (car b))))))

(for-each
 (lambda (reading)
   (log-info (car reading) (cdr reading) (assq-ref units (car reading))))
 readings)

(publish "readings" readings)
readings
