/* Verification of update metadata. ygg/trust.h.
 *
 *     record's payload   | version | newest sequence | expires: u64 | count | thresholds x3 | masks x3 | 0 | keys x8
 * | */
#include "ygg/trust.h"

#include <string.h>

enum { RECORD_KIND = 0x59475431 };

enum {
    AT_VERSION = YGG_FLASHLOG_HEAD_BYTES,
    AT_NEWEST = AT_VERSION + 4,
    AT_EXPIRES = AT_VERSION + 8,
    AT_COUNT = AT_VERSION + 16,
    AT_THRESHOLDS = AT_VERSION + 17,
    AT_MASKS = AT_VERSION + 20,
    AT_KEYS = AT_VERSION + 24
};

_Static_assert(AT_KEYS + YGG_KEYS_MAX * YGG_KEY_BYTES + YGG_FLASHLOG_TAIL_BYTES <= YGG_TRUST_RECORD_BYTES,
               "a record has room");
_Static_assert(YGG_TRUST_RECORD_BYTES % YGG_FLASH_UNIT_BYTES == 0, "a record is programmed in whole units");

/* The signed bytes begin with the role, its zero byte included: a signature for one role is invalid for another. */
static const char *const contexts[YGG_ROLES] = {
    [YGG_ROLE_ROOT] = "ygg-ota-root-1",
    [YGG_ROLE_TIMESTAMP] = "ygg-ota-timestamp-1",
    [YGG_ROLE_RELEASE] = "ygg-ota-release-1",
};

/* --- the record --------------------------------------------------------------------------------------------------- */

static void read_record(struct ygg_trust *trust)
{
    const uint8_t *in = trust->room;
    struct ygg_root *root = &trust->root;

    root->version = ygg_get32(in + AT_VERSION);
    root->expires_unix_s = ygg_get64(in + AT_EXPIRES);
    root->count = in[AT_COUNT];
    memcpy(root->thresholds + 1, in + AT_THRESHOLDS, YGG_ROLES - 1);
    memcpy(root->masks + 1, in + AT_MASKS, YGG_ROLES - 1);
    memcpy(root->keys, in + AT_KEYS, sizeof root->keys);
    trust->newest_sequence = ygg_get32(in + AT_NEWEST);
}

static enum ygg_ota_code save(struct ygg_trust *trust)
{
    uint8_t *out = trust->room;
    const struct ygg_root *root = &trust->root;

    memset(out, 0, YGG_TRUST_RECORD_BYTES);
    ygg_put32(out + AT_VERSION, root->version);
    ygg_put32(out + AT_NEWEST, trust->newest_sequence);
    ygg_put64(out + AT_EXPIRES, root->expires_unix_s);
    out[AT_COUNT] = root->count;
    memcpy(out + AT_THRESHOLDS, root->thresholds + 1, YGG_ROLES - 1);
    memcpy(out + AT_MASKS, root->masks + 1, YGG_ROLES - 1);
    memcpy(out + AT_KEYS, root->keys, sizeof root->keys);
    return ygg_flashlog_append(&trust->log, out) == YGG_OK ? YGG_OTA_OK : YGG_OTA_FLASH;
}

/* --- signatures --------------------------------------------------------------------------------------------------- */

static bool hash_signed(const struct ygg_trust *trust, enum ygg_role role, const struct ygg_signed *message,
                        uint8_t *digest)
{
    const uint8_t *context = (const uint8_t *)contexts[role];

    return trust->hash->begin(trust->hash_ctx) == YGG_OK &&
           trust->hash->update(trust->hash_ctx, context, strlen(contexts[role]) + 1) == YGG_OK &&
           trust->hash->update(trust->hash_ctx, message->payload, message->size) == YGG_OK &&
           trust->hash->finish(trust->hash_ctx, digest) == YGG_OK;
}

static bool hash_bytes(const struct ygg_trust *trust, const uint8_t *data, size_t size, uint8_t *digest)
{
    return trust->hash->begin(trust->hash_ctx) == YGG_OK &&
           trust->hash->update(trust->hash_ctx, data, size) == YGG_OK &&
           trust->hash->finish(trust->hash_ctx, digest) == YGG_OK;
}

/* Returns the key of a role with this id, as a bit; 0: none. */
static uint8_t find_key(const struct ygg_trust *trust, const struct ygg_root *root, uint8_t mask, const uint8_t *key_id)
{
    uint8_t digest[YGG_SHA256_BYTES];

    for (unsigned i = 0; i < root->count; i++) {
        if (((unsigned)mask >> i & 1U) != 0 && hash_bytes(trust, root->keys[i], YGG_KEY_BYTES, digest) &&
            memcmp(digest, key_id, YGG_KEY_ID_BYTES) == 0) {
            return (uint8_t)(1U << i);
        }
    }
    return 0;
}

static unsigned key_index(uint8_t bit)
{
    unsigned index = 0;

    while (bit >> index != 1) {
        index++;
    }
    return index;
}

/* Whether enough different keys of the role have signed. Each key counts once. */
static bool is_signed(const struct ygg_trust *trust, const struct ygg_root *root, enum ygg_role role,
                      const struct ygg_signed *message)
{
    uint8_t digest[YGG_SHA256_BYTES];
    uint8_t signers = 0;
    unsigned count = 0;

    if (!hash_signed(trust, role, message, digest)) {
        return false;
    }
    for (size_t i = 0; i < message->count; i++) {
        uint8_t bit = find_key(trust, root, root->masks[role], message->signatures[i].key_id);

        if (bit != 0 && (signers & bit) == 0 &&
            trust->verify->p256(trust->verify_ctx, root->keys[key_index(bit)], digest, message->signatures[i].value)) {
            signers |= bit;
            count++;
        }
    }
    return count >= root->thresholds[role];
}

/* --- roots -------------------------------------------------------------------------------------------------------- */

/* If the timestamp keys change, the newest sequence is reset: the holder of a stolen key may have raised it. */
static bool same_timestamp_keys(const struct ygg_root *a, const struct ygg_root *b)
{
    return a->count == b->count && a->masks[YGG_ROLE_TIMESTAMP] == b->masks[YGG_ROLE_TIMESTAMP] &&
           memcmp(a->keys, b->keys, sizeof a->keys) == 0;
}

static enum ygg_ota_code adopt(struct ygg_trust *trust, const struct ygg_root *root)
{
    trust->newest_sequence = same_timestamp_keys(&trust->root, root) ? trust->newest_sequence : 0;
    trust->root = *root;
    return save(trust);
}

static enum ygg_ota_code read_envelope(const uint8_t *envelope, size_t size, size_t max, struct ygg_signed *out)
{
    return size <= max && ygg_signed_read(envelope, size, out) ? YGG_OTA_OK : YGG_OTA_MALFORMED;
}

enum ygg_ota_code ygg_trust_open(struct ygg_trust *trust, const uint8_t *first_root, size_t size)
{
    struct ygg_signed message;
    struct ygg_root root;

    trust->log = (struct ygg_flashlog){.flash = trust->layout->flash,
                                       .offset = trust->layout->trust,
                                       .kind = RECORD_KIND,
                                       .record_bytes = YGG_TRUST_RECORD_BYTES};
    memset(&trust->root, 0, sizeof trust->root);
    trust->newest_sequence = 0;
    enum ygg_err err = ygg_flashlog_open(&trust->log, trust->room);
    if (err == YGG_OK) {
        read_record(trust);
        return YGG_OTA_OK;
    }
    if (err != YGG_ERR_NOT_FOUND) {
        return YGG_OTA_FLASH;
    }
    if (read_envelope(first_root, size, YGG_ENVELOPE_BYTES_MAX, &message) != YGG_OTA_OK ||
        !ygg_root_read(message.payload, message.size, &root)) {
        return YGG_OTA_MALFORMED;
    }
    return is_signed(trust, &root, YGG_ROLE_ROOT, &message) ? adopt(trust, &root) : YGG_OTA_SIGNATURE;
}

enum ygg_ota_code ygg_trust_next_root(struct ygg_trust *trust, const uint8_t *envelope, size_t size)
{
    struct ygg_signed message;
    struct ygg_root root;

    if (read_envelope(envelope, size, YGG_ENVELOPE_BYTES_MAX, &message) != YGG_OTA_OK) {
        return YGG_OTA_MALFORMED;
    }
    if (!is_signed(trust, &trust->root, YGG_ROLE_ROOT, &message)) {
        return YGG_OTA_ROOT;
    }
    if (!ygg_root_read(message.payload, message.size, &root)) {
        return YGG_OTA_MALFORMED;
    }
    if (root.version != trust->root.version + 1 || !is_signed(trust, &root, YGG_ROLE_ROOT, &message)) {
        return YGG_OTA_ROOT;
    }
    return adopt(trust, &root);
}

/* --- timestamps and releases -------------------------------------------------------------------------------------- */

static bool same_text(const uint8_t *data, size_t size, const char *expected)
{
    return size == strlen(expected) && memcmp(data, expected, size) == 0;
}

enum ygg_ota_code ygg_trust_timestamp(struct ygg_trust *trust, const uint8_t *envelope, size_t size,
                                      const struct ygg_trust_context *context, struct ygg_timestamp *out)
{
    struct ygg_signed message;

    if (read_envelope(envelope, size, YGG_ENVELOPE_BYTES_MAX, &message) != YGG_OTA_OK) {
        return YGG_OTA_MALFORMED;
    }
    if (!is_signed(trust, &trust->root, YGG_ROLE_TIMESTAMP, &message)) {
        return YGG_OTA_SIGNATURE;
    }
    if (!ygg_timestamp_read(message.payload, message.size, out)) {
        return YGG_OTA_MALFORMED;
    }
    if (memcmp(out->nonce, context->nonce, YGG_NONCE_BYTES) != 0 ||
        !same_text(out->device_id, out->device_id_size, context->device_id) ||
        out->newest_sequence < trust->newest_sequence) {
        return YGG_OTA_STALE;
    }
    if (out->time_unix_s >= trust->root.expires_unix_s) {
        return YGG_OTA_EXPIRED;
    }
    out->nonce = NULL; /* They point into the envelope, which may go. */
    out->device_id = NULL;
    if (out->newest_sequence == trust->newest_sequence) {
        return YGG_OTA_OK;
    }
    trust->newest_sequence = out->newest_sequence;
    return save(trust);
}

/* Checks device class, slot size, security counter and sequence. */
static enum ygg_ota_code check_applicable(const struct ygg_manifest *manifest, const struct ygg_timestamp *timestamp,
                                          const struct ygg_trust_context *context)
{
    if (!same_text(manifest->device_class, manifest->device_class_size, context->device_class)) {
        return YGG_OTA_DEVICE_CLASS;
    }
    if (manifest->slot_bytes != context->slot_bytes) {
        return YGG_OTA_SLOT_SIZE;
    }
    if (manifest->counter < context->counter_floor) {
        return YGG_OTA_SECURITY_COUNTER;
    }
    bool newer = manifest->sequence > timestamp->newest_sequence;
    bool older = manifest->sequence < context->sequence && !timestamp->allow_older;
    return newer || older ? YGG_OTA_SEQUENCE : YGG_OTA_OK;
}

enum ygg_ota_code ygg_trust_release(const struct ygg_trust *trust, const uint8_t *envelope, size_t size,
                                    const struct ygg_timestamp *timestamp, const struct ygg_trust_context *context,
                                    struct ygg_manifest *out)
{
    uint8_t digest[YGG_SHA256_BYTES];
    struct ygg_signed message;

    if (read_envelope(envelope, size, YGG_RELEASE_BYTES_MAX, &message) != YGG_OTA_OK) {
        return YGG_OTA_MALFORMED;
    }
    if (!is_signed(trust, &trust->root, YGG_ROLE_RELEASE, &message)) {
        return YGG_OTA_SIGNATURE;
    }
    if (!ygg_manifest_read(message.payload, message.size, out)) {
        return YGG_OTA_MALFORMED;
    }
    if (timestamp->time_unix_s >= trust->root.expires_unix_s || timestamp->time_unix_s >= out->expires_unix_s) {
        return YGG_OTA_EXPIRED;
    }
    if (!timestamp->names_release || !hash_bytes(trust, message.payload, message.size, digest) ||
        memcmp(digest, timestamp->release, sizeof digest) != 0) {
        return YGG_OTA_MIX_AND_MATCH;
    }
    return check_applicable(out, timestamp, context);
}

enum ygg_ota_code ygg_trust_patch(const struct ygg_manifest *manifest, const struct ygg_delta *delta,
                                  const uint8_t *running)
{
    const struct ygg_delta *signed_one = &manifest->delta;

    if (delta->length > manifest->length) {
        return YGG_OTA_MALFORMED;
    }
    if (memcmp(delta->precursor, running, YGG_SHA256_BYTES) != 0) {
        return YGG_OTA_PRECURSOR;
    }
    bool same_start = signed_one->precursor != NULL &&
                      memcmp(signed_one->precursor, delta->precursor, YGG_SHA256_BYTES) == 0;
    bool same = same_start && signed_one->length == delta->length &&
                memcmp(signed_one->digest, delta->digest, YGG_SHA256_BYTES) == 0 &&
                memcmp(signed_one->chunks_root, delta->chunks_root, YGG_SHA256_BYTES) == 0;
    return same_start && !same ? YGG_OTA_PRECURSOR : YGG_OTA_OK;
}
