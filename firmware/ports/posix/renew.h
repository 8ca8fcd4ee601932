/* Renewal of a device's certificate: the request, the checks of the answer, and the storage.
 *
 * Accepts only a certificate for this device and this key, currently valid, expiring later than the one in use, and
 * issued by the same CA. So a hostile bridge cannot make the device lose its identity. */
#ifndef YGG_PORTS_POSIX_RENEW_H
#define YGG_PORTS_POSIX_RENEW_H

#include "ports/posix/tls.h"
#include "ygg/certificate.h"

struct renewal {
    struct identity *identity;         /* Updated when a certificate is stored. */
    struct tls_connection *connection; /* Uses it from the next connection on. */
    struct posix_platform *platform;   /* For log lines. */
    char *cert_path;                   /* Replaced atomically and durably. */
};

extern const struct ygg_certificate_port renew_port; /* Context: struct renewal. */

#endif
