/* Renewal of the device's certificate over its link: the feature `certificate`. Source: docs/reference/protocol.md,
 * "Certificates".
 *
 *     IDLE --CertificateExpiring--> DUE --CertificateRequest--> WAITING --CertificateIssued, all slices--> IDLE
 *
 * A port that uses it offers YGG_FEATURE_CERTIFICATE and sets ygg_config.certificate; a port that does not links none
 * of its code. Making requests, and checking and storing certificates, belongs to the port. */
#ifndef YGG_CERTIFICATE_H
#define YGG_CERTIFICATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ygg/err.h"

enum { YGG_CERTIFICATE_REQUEST_BYTES_MAX = 1024, YGG_CERTIFICATES_BYTES_MAX = 2048 };

struct ygg_agent;
struct ygg_envelope;

/* Implemented by the port. Each function may take as long as one signature. */
struct ygg_certificate_port {
    /* Writes a PKCS#10 request in DER for the key of the certificate in use. Returns its length, 0 on failure. */
    size_t (*request)(void *ctx, uint8_t *out, size_t size);
    /* Checks two certificates in DER, the device's and that of its issuing CA, and stores them for the next connection.
     * Atomic: after a power cut either the old or the new one is there. Returns false, and logs, if the old one
     * stays. */
    bool (*store)(void *ctx, const uint8_t *certificates, size_t size);
};

/* Caller-owned; must outlive the agent. Set the first five members, zero the others. */
struct ygg_certificate {
    enum ygg_err (*handle)(struct ygg_agent *agent, const struct ygg_envelope *envelope); /* ygg_certificate_handle */
    bool (*produce)(struct ygg_agent *agent);                                             /* ygg_certificate_produce */
    const struct ygg_certificate_port *port;
    void *ctx;
    uint8_t *room; /* YGG_CERTIFICATES_BYTES_MAX bytes, for the request and then the issued certificates. */
    /* Private. */
    uint32_t session; /* agent->sessions that the members below belong to. */
    uint32_t size;    /* Total size of all slices, in bytes. */
    uint32_t got;
    bool due;
    bool waiting;
};

/* Implementations of `handle` and `produce` in core/certificate.c. */
enum ygg_err ygg_certificate_handle(struct ygg_agent *agent, const struct ygg_envelope *envelope);
bool ygg_certificate_produce(struct ygg_agent *agent);

#endif
