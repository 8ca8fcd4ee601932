/* One attempt to enrol: connect, authenticate the server, send the request, check the answer. Blocks, up to TIMEOUT_MS.
 *
 * The server must be the registry of the mesh that issued the token: the chain that it sends contains the root with the
 * fingerprint of the token and leads to it, and its URI SAN is ygg://main/service/registry. Source:
 * protos/yggdrasil/device/v1/enrol.proto. */
#ifndef YGG_PORTS_POSIX_ENROL_EXCHANGE_H
#define YGG_PORTS_POSIX_ENROL_EXCHANGE_H

#include "ports/posix/identity.h"
#include "ports/posix/token.h"
#include "yggdrasil/device/v1/enrol.pb.h"

/* RETRY: temporary; REFUSED: a retry would not help. Both set a human-readable `reason`. */
enum exchange_outcome { EXCHANGE_GRANTED, EXCHANGE_RETRY, EXCHANGE_REFUSED };

struct exchange_answer {
    yggdrasil_device_v1_EnrolResponse message;
    uint32_t retry_after_ms; /* Of EXCHANGE_RETRY: minimum delay that the registry asks for. */
};

enum exchange_outcome exchange(const struct token *token, EVP_PKEY *key, struct exchange_answer *answer,
                               char reason[IDENTITY_REASON_BYTES]);

#endif
