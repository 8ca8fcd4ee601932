/* Renewal of a device's certificate: the request, what is accepted in its answer, and where it is kept.
 *
 * What is accepted: a certificate for this device and this key, valid now and ending later than the one in use, of the
 * CA that issued that one. So a hostile bridge cannot make the device forget the identity that it has. */
#ifndef YGG_PORTS_POSIX_RENEW_H
#define YGG_PORTS_POSIX_RENEW_H

#include "ports/posix/tls.h"
#include "ygg/certificate.h"

struct renewal {
    struct identity *identity;         /* Changes when a certificate was stored. */
    struct tls_connection *connection; /* Uses it from its next connection on. */
    struct posix_platform *platform;   /* For log lines. */
    char *cert_path;                   /* Replaced at once and for good. */
};

extern const struct ygg_certificate_port renew_port; /* Context: struct renewal. */

#endif
