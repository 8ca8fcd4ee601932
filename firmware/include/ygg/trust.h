/* The device's trust in updates: the stored root, and the verification of timestamps and releases.
 *
 * Owns the rules of signatures, thresholds, expiry and order, and the root record in flash. Does not own cryptography
 * (struct ygg_verify, struct ygg_hash) nor the wire format (wire/metadata.h). After The Update Framework, sections 5.3
 * to 5.6; docs/reference/updates.md. Bytes are checked in this order: length, signatures, content. */
#ifndef YGG_TRUST_H
#define YGG_TRUST_H

#include "wire/metadata.h"
#include "ygg/boot.h"

enum { YGG_ENVELOPE_BYTES_MAX = 1536, YGG_RELEASE_BYTES_MAX = 1024, YGG_TRUST_RECORD_BYTES = 560 };

/* Numbered as yggdrasil.device.v1.OtaCode. */
enum ygg_ota_code {
    YGG_OTA_OK = 0,
    YGG_OTA_MALFORMED = 1,
    YGG_OTA_ROOT = 2,
    YGG_OTA_SIGNATURE = 3,
    YGG_OTA_EXPIRED = 4,
    YGG_OTA_STALE = 5,
    YGG_OTA_MIX_AND_MATCH = 6,
    YGG_OTA_DEVICE_CLASS = 7,
    YGG_OTA_SLOT_SIZE = 8,
    YGG_OTA_SECURITY_COUNTER = 9,
    YGG_OTA_SEQUENCE = 10,
    YGG_OTA_PRECURSOR = 11,
    YGG_OTA_PATCH = 12,
    YGG_OTA_LENGTH = 13,
    YGG_OTA_CHUNK = 14,
    YGG_OTA_DIGEST = 15,
    YGG_OTA_BUSY = 16,
    YGG_OTA_FLASH = 17,
    YGG_OTA_ABORTED = 18,
    YGG_OTA_TIMEOUT = 19,
    YGG_OTA_ALREADY_RUNNING = 20,
    YGG_OTA_SELF_TEST = 21,
    YGG_OTA_NOT_CONFIRMED = 22
};

/* ECDSA on P-256. */
struct ygg_verify {
    /* Returns whether `signature` (r, s) of `digest` was made with `key` (X, Y); all big-endian. */
    bool (*p256)(void *ctx, const uint8_t key[YGG_KEY_BYTES], const uint8_t digest[YGG_SHA256_BYTES],
                 const uint8_t signature[YGG_SIGNATURE_BYTES]);
};

struct ygg_trust {
    /* Set by the caller before ygg_trust_open. */
    const struct ygg_layout *layout;
    const struct ygg_hash *hash;
    const struct ygg_verify *verify;
    void *hash_ctx;
    void *verify_ctx;
    /* Scratch of YGG_TRUST_RECORD_BYTES for a record. May overlap the buffer of the envelopes, which it then
     * overwrites. */
    uint8_t *room;
    /* Free to read. */
    struct ygg_root root;
    uint32_t newest_sequence; /* Highest sequence that a timestamp has stated. */
    struct ygg_flashlog log;  /* Private. */
};

/* The facts about the device that a release is checked against. */
struct ygg_trust_context {
    const char *device_id;
    const char *device_class;
    const uint8_t *nonce; /* Nonce of this session, YGG_NONCE_BYTES. */
    uint32_t slot_bytes;
    uint32_t sequence; /* Sequence of the running image. */
    uint32_t counter_floor;
};

/* Loads the stored root. If none is stored, verifies and stores `first_root`, an envelope signed by its own root role.
 * Returns why that root cannot be used, or YGG_OTA_FLASH. */
enum ygg_ota_code ygg_trust_open(struct ygg_trust *trust, const uint8_t *first_root, size_t size);

/* Verifies the next root and stores it durably. YGG_OTA_ROOT, _SIGNATURE, _MALFORMED, _FLASH. */
enum ygg_ota_code ygg_trust_next_root(struct ygg_trust *trust, const uint8_t *envelope, size_t size);

/* Verifies a timestamp and stores its newest sequence durably. YGG_OTA_STALE, _EXPIRED, … */
enum ygg_ota_code ygg_trust_timestamp(struct ygg_trust *trust, const uint8_t *envelope, size_t size,
                                      const struct ygg_trust_context *context, struct ygg_timestamp *out);

/* Verifies a release under that timestamp; `out` points into the envelope. */
enum ygg_ota_code ygg_trust_release(const struct ygg_trust *trust, const uint8_t *envelope, size_t size,
                                    const struct ygg_timestamp *timestamp, const struct ygg_trust_context *context,
                                    struct ygg_manifest *out);

/* Verifies a patch from the running image, with digest `running`, to the image of the release. */
enum ygg_ota_code ygg_trust_patch(const struct ygg_manifest *manifest, const struct ygg_delta *delta,
                                  const uint8_t *running);

#endif
