/* Inclusion proofs of chunks in a Merkle tree: RFC 9162, section 2.1, with SHA-256. Constant memory: one digest. */
#ifndef YGG_CORE_MERKLE_H
#define YGG_CORE_MERKLE_H

#include <stdbool.h>

#include "ygg/hal.h"

enum { YGG_PROOF_DIGESTS_MAX = 16 };

/* An inclusion proof: chunk `index` of `count` under `root`, by an audit path. */
struct ygg_proof {
    const uint8_t *root; /* 32 bytes. */
    const uint8_t *path; /* 32 bytes each, from the leaf's sibling upwards. */
    size_t path_bytes;
    uint32_t index;
    uint32_t count;
};

bool ygg_proof_holds(const struct ygg_proof *proof, const uint8_t *chunk, size_t size, const struct ygg_hash *hash,
                     void *hash_ctx);

#endif
