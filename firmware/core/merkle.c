#include "core/merkle.h"

#include <string.h>

enum { DIGEST_BYTES = 32, LEAF = 0, NODE = 1 };

struct piece {
    const uint8_t *data;
    size_t size;
};

/* SHA-256 of a byte that distinguishes leaves from nodes, and two pieces. */
static bool hash_two(const struct ygg_hash *hash, void *ctx, uint8_t kind, const struct piece pieces[2],
                     uint8_t *digest)
{
    return hash->begin(ctx) == YGG_OK && hash->update(ctx, &kind, 1) == YGG_OK &&
           hash->update(ctx, pieces[0].data, pieces[0].size) == YGG_OK &&
           (pieces[1].size == 0 || hash->update(ctx, pieces[1].data, pieces[1].size) == YGG_OK) &&
           hash->finish(ctx, digest) == YGG_OK;
}

/* RFC 9162, section 2.1.3.2: `position` and `last` are fn and sn there. */
bool ygg_proof_holds(const struct ygg_proof *proof, const uint8_t *chunk, size_t size, const struct ygg_hash *hash,
                     void *hash_ctx)
{
    const struct piece leaf[2] = {{.data = chunk, .size = size}};
    uint8_t digest[DIGEST_BYTES];
    uint32_t position = proof->index;
    uint32_t last = proof->count - 1U;

    if (proof->index >= proof->count || proof->path_bytes % DIGEST_BYTES != 0 ||
        proof->path_bytes > (size_t)YGG_PROOF_DIGESTS_MAX * DIGEST_BYTES ||
        !hash_two(hash, hash_ctx, LEAF, leaf, digest)) {
        return false;
    }
    for (size_t at = 0; at < proof->path_bytes; at += DIGEST_BYTES) {
        const struct piece sibling = {.data = proof->path + at, .size = DIGEST_BYTES};
        const struct piece node = {.data = digest, .size = DIGEST_BYTES};
        bool is_right = (position & 1U) != 0 || position == last;
        const struct piece both[2] = {is_right ? sibling : node, is_right ? node : sibling};

        if (last == 0 || !hash_two(hash, hash_ctx, NODE, both, digest)) {
            return false;
        }
        while (is_right && (position & 1U) == 0 && position != 0) {
            position >>= 1U;
            last >>= 1U;
        }
        position >>= 1U;
        last >>= 1U;
    }
    return last == 0 && memcmp(digest, proof->root, DIGEST_BYTES) == 0;
}
