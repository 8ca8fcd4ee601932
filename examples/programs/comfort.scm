;; Regulate the temperature with a package:  ygg program load degrees.scm && ygg program deploy comfort.scm -d porch-1
;; @version 1.0.0
;; @depends degrees 1.0.0
;; @param every_s double=2.0 Seconds between readings.
;; @requires sensor.temperature@1+
;; @requires actuator.led@1+{on:bool rw}

(import (prefix (package degrees) degrees:))

(define cold? (degrees:switch 18 22))
(define fahrenheit #f)

(every 'look (arg 'every_s)
  (lambda (_)
    (let ((celsius (read-temp0-celsius)))
      (set! fahrenheit (degrees:fahrenheit celsius))
      (set-led0! (cold? celsius)))))
