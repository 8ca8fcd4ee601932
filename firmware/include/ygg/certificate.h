/* Renewal of the device's certificate over its link: the feature `certificate`. Source: docs/reference/protocol.md, "Certificates".
 *
 *     IDLE --CertificateExpiring--> DUE --CertificateRequest--> WAITING --CertificateIssued, all slices--> IDLE
 *
 * A port that uses it offers YGG_FEATURE_CERTIFICATE and sets ygg_config.certificate; one that does not links nothing of
 * it. Does not own what is in a certificate: making requests, checking and storing are the port's. */
#ifndef YGG_CERTIFICATE_H
#define YGG_CERTIFICATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ygg/err.h"

enum { YGG_CERTIFICATE_REQUEST_BYTES_MAX = 1024, YGG_CERTIFICATES_BYTES_MAX = 2048 };

struct ygg_agent;
struct ygg_envelope;

/* Both may take as long as a signature does. */
struct ygg_certificate_port {
    /* Writes a PKCS#10 request in DER for the key of the certificate in use; its length, 0 where that failed. */
    size_t (*request)(void *ctx, uint8_t *out, size_t size);
    /* Checks two certificates in DER, the device's and that of the CA that issued it, and keeps them for the next
     * connection; after a power cut at any time there is the old one or the new one. False, and logged, where the old
     * one stays. */
    bool (*store)(void *ctx, const uint8_t *certificates, size_t size);
};

/* Caller-owned; all zero but the first five. Outlives the agent. */
struct ygg_certificate {
    enum ygg_err (*handle)(struct ygg_agent *agent, const struct ygg_envelope *envelope); /* ygg_certificate_handle */
    bool (*produce)(struct ygg_agent *agent);                                             /* ygg_certificate_produce */
    const struct ygg_certificate_port *port;
    void *ctx;
    uint8_t *room; /* YGG_CERTIFICATES_BYTES_MAX bytes: the request, then what is issued. */
    /* Private. */
    uint32_t session; /* agent->sessions that the rest is of. */
    uint32_t size;    /* Of all slices. */
    uint32_t got;
    bool due;
    bool waiting;
};

/* core/certificate.c: a frame of the feature; queues what is due. For struct ygg_certificate. */
enum ygg_err ygg_certificate_handle(struct ygg_agent *agent, const struct ygg_envelope *envelope);
bool ygg_certificate_produce(struct ygg_agent *agent);

#endif
