/* Signed metadata of updates, parsed in place: nothing is copied, pointers lead into the caller's bytes.
 *
 * Owns the format: lengths, counts, texts. Does not own trust decisions (core/trust.c). Source:
 * protos/yggdrasil/device/v1/ota.proto. Unknown fields are skipped. */
#ifndef YGG_WIRE_METADATA_H
#define YGG_WIRE_METADATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    YGG_KEYS_MAX = 8,
    YGG_KEY_BYTES = 64,
    YGG_KEY_ID_BYTES = 8,
    YGG_SIGNATURE_BYTES = 64,
    YGG_SHA256_BYTES = 32,
    YGG_NONCE_BYTES = 16,
    YGG_SIGNED_BYTES_MAX = 1024
};

/* An iterator over the fields of a message. */
struct ygg_fields {
    const uint8_t *at;
    const uint8_t *end;
    uint32_t number;
    uint8_t type;        /* 0 varint, 1 fixed64, 2 bytes, 5 fixed32. */
    uint64_t value;      /* Of numbers. */
    const uint8_t *data; /* Of bytes. */
    size_t size;
    bool broken;
};

struct ygg_fields ygg_fields_of(const uint8_t *data, size_t size);

/* Advances to the first or next field. Returns false at the end, or if the message is broken. */
bool ygg_fields_next(struct ygg_fields *fields);

struct ygg_signature {
    const uint8_t *key_id;
    const uint8_t *value;
};

/* message Envelope. */
struct ygg_signed {
    const uint8_t *payload;
    size_t size; /* 1 to YGG_SIGNED_BYTES_MAX. */
    struct ygg_signature signatures[YGG_KEYS_MAX];
    uint8_t count;
};
bool ygg_signed_read(const uint8_t *data, size_t size, struct ygg_signed *out);

enum ygg_role { YGG_ROLE_ROOT = 1, YGG_ROLE_TIMESTAMP = 2, YGG_ROLE_RELEASE = 3, YGG_ROLES = 4 };

/* message Root, with copies of its keys, since it is stored. */
struct ygg_root {
    uint64_t expires_unix_s;
    uint32_t version;
    uint8_t count;
    uint8_t thresholds[YGG_ROLES]; /* By enum ygg_role. */
    uint8_t masks[YGG_ROLES];      /* Keys of each role, a bit each. */
    uint8_t keys[YGG_KEYS_MAX][YGG_KEY_BYTES];
};
bool ygg_root_read(const uint8_t *data, size_t size, struct ygg_root *out);

/* message Delta. */
struct ygg_delta {
    const uint8_t *precursor; /* SHA-256; NULL: no delta. */
    const uint8_t *digest;
    const uint8_t *chunks_root;
    uint32_t length;
};
bool ygg_delta_read(const uint8_t *data, size_t size, struct ygg_delta *out);

/* message ReleaseManifest. */
struct ygg_manifest {
    uint64_t expires_unix_s;
    const uint8_t *device_class; /* Not NUL-terminated. */
    size_t device_class_size;
    uint32_t sequence;
    uint32_t counter;
    uint32_t slot_bytes;
    uint32_t length;
    uint32_t chunk_bytes;
    const uint8_t *digest;
    const uint8_t *chunks_root;
    struct ygg_delta delta;
};
bool ygg_manifest_read(const uint8_t *data, size_t size, struct ygg_manifest *out);

/* message Timestamp. */
struct ygg_timestamp {
    uint64_t time_unix_s;
    uint32_t newest_sequence;
    bool allow_older;
    const uint8_t *nonce; /* YGG_NONCE_BYTES; NULL if missing. */
    const uint8_t *device_id;
    size_t device_id_size;
    bool names_release;
    uint8_t release[YGG_SHA256_BYTES]; /* A copy, compared when the release arrives. */
};
bool ygg_timestamp_read(const uint8_t *data, size_t size, struct ygg_timestamp *out);

#endif
