;;; Read the temperature. Above the limit, switch the LED on and publish an alarm; otherwise switch it off.
;;; Run:  ygg script run examples/alarm.scm --device porch-2 --arg limit=75

(define limit (arg 'limit 75))
(define celsius (property-read "temp0.celsius"))
(define (degrees x) (format #f "~a °C" x))

(log-info "all sensors:" (read-sensors))

(cond ((> celsius limit)
       (led-on)
       ;; A quasiquote: without the comma this would send the symbol celsius instead of its value.
       (publish "alarm" `((celsius . ,celsius) (limit . ,limit)))
       (string-append (degrees celsius) " is at or over " (degrees limit) ": alarm, led0 " (if (led-state) "on" "off")))
      (else
       (led-off)
       (string-append (degrees celsius) " is under " (degrees limit) ": no alarm")))
