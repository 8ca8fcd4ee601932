/* One try to enrol: connect, look who it is, ask, check the answer. Blocks, for PATIENCE at most.
 *
 * The server is the registry of the mesh that made the token: its chain, as it is sent, holds the root whose fingerprint
 * is in the token and leads to it, and its URI SAN is ygg://main/service/registry. Source:
 * protos/yggdrasil/device/v1/enrol.proto. */
#ifndef YGG_PORTS_POSIX_ENROL_EXCHANGE_H
#define YGG_PORTS_POSIX_ENROL_EXCHANGE_H

#include "ports/posix/identity.h"
#include "ports/posix/token.h"
#include "yggdrasil/device/v1/enrol.pb.h"

/* RETRY: not now; REFUSED: trying again would not help. Both have a `reason` for people. */
enum exchange_outcome { EXCHANGE_GRANTED, EXCHANGE_RETRY, EXCHANGE_REFUSED };

struct exchange_answer {
    yggdrasil_device_v1_EnrolResponse message;
    uint32_t retry_after_ms; /* Of EXCHANGE_RETRY: what the registry asks for at least. */
};

enum exchange_outcome exchange(const struct token *token, EVP_PKEY *key, struct exchange_answer *answer,
                               char reason[IDENTITY_REASON_BYTES]);

#endif
