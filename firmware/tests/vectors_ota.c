#include "tests/vectors_ota.h"

#include <pb_decode.h>
#include <string.h>

#include "tests/check.h"
#include "wire/metadata.h"

static const pb_msgdesc_t *fields_of(uint32_t number)
{
    switch (number) {
    case YGG_BODY_OTA_STATUS:
        return yggdrasil_device_v1_OtaStatus_fields;
    case YGG_BODY_OTA_OFFER:
        return yggdrasil_device_v1_OtaOffer_fields;
    case YGG_BODY_OTA_METADATA:
        return yggdrasil_device_v1_OtaMetadata_fields;
    case YGG_BODY_OTA_ACCEPT:
        return yggdrasil_device_v1_OtaAccept_fields;
    case YGG_BODY_OTA_REJECT:
        return yggdrasil_device_v1_OtaReject_fields;
    case YGG_BODY_OTA_CHUNK_REQUEST:
        return yggdrasil_device_v1_OtaChunkRequest_fields;
    case YGG_BODY_OTA_PROGRESS:
        return yggdrasil_device_v1_OtaProgress_fields;
    case YGG_BODY_OTA_RESULT:
        return yggdrasil_device_v1_OtaResult_fields;
    case YGG_BODY_OTA_ABORT:
        return yggdrasil_device_v1_OtaAbort_fields;
    default:
        return NULL;
    }
}

/* A chunk is decoded in place, field by field, as in core/ota_chunks.c. */
static bool again_chunk(pb_ostream_t *out, const struct ygg_envelope *envelope)
{
    static yggdrasil_device_v1_OtaChunk chunk;
    struct ygg_fields fields = ygg_fields_of(envelope->body, envelope->length);

    memset(&chunk, 0, sizeof chunk);
    while (ygg_fields_next(&fields)) {
        if (fields.number == 1) {
            chunk.update_id = fields.value;
        } else if (fields.number == 2) {
            chunk.offset_bytes = (uint32_t)fields.value;
        } else if (fields.number == 3 && CHECK(fields.size <= sizeof chunk.data.bytes)) {
            chunk.data.size = (pb_size_t)fields.size;
            memcpy(chunk.data.bytes, fields.data, fields.size);
        } else if (fields.number == 4 && CHECK(fields.size <= sizeof chunk.proof.bytes)) {
            chunk.proof.size = (pb_size_t)fields.size;
            memcpy(chunk.proof.bytes, fields.data, fields.size);
        }
    }
    CHECK(!fields.broken);
    return pb_encode(out, yggdrasil_device_v1_OtaChunk_fields, &chunk);
}

bool vectors_ota_again(pb_ostream_t *out, const struct ygg_envelope *envelope, bool *written)
{
    static union ygg_body body;
    const pb_msgdesc_t *fields = fields_of(envelope->number);
    pb_istream_t in = pb_istream_from_buffer(envelope->body, envelope->length);

    if (envelope->number == YGG_BODY_OTA_CHUNK) {
        *written = again_chunk(out, envelope);
        return true;
    }
    if (fields == NULL) {
        return false;
    }
    bool from_bridge = envelope->number == YGG_BODY_OTA_OFFER || envelope->number == YGG_BODY_OTA_METADATA ||
                       envelope->number == YGG_BODY_OTA_ABORT;
    if (from_bridge) {
        CHECK_EQ(ygg_body_decode(envelope, &body), YGG_OK);
        *written = pb_encode(out, fields, &body);
    } else {
        CHECK(pb_decode(&in, fields, &body));
        *written = ygg_body_encode(out, envelope->number, &body);
    }
    return true;
}

/* --- signed metadata --------------------------------------------------------------------------------------------------- */

static void check_envelope(const uint8_t *data, size_t size)
{
    static yggdrasil_device_v1_Envelope message;
    struct ygg_signed of;
    pb_istream_t in = pb_istream_from_buffer(data, size);

    CHECK(pb_decode(&in, yggdrasil_device_v1_Envelope_fields, &message));
    CHECK(ygg_signed_read(data, size, &of));
    CHECK_EQ(of.size, message.payload.size);
    CHECK(memcmp(of.payload, message.payload.bytes, of.size) == 0);
    CHECK_EQ(of.count, message.signatures_count);
    for (size_t i = 0; i < of.count; i++) {
        CHECK(memcmp(of.signatures[i].key_id, message.signatures[i].key_id, YGG_KEY_ID_BYTES) == 0);
        CHECK(memcmp(of.signatures[i].value, message.signatures[i].signature, YGG_SIGNATURE_BYTES) == 0);
    }
}

static void check_role(const struct ygg_root *root, enum ygg_role role, const yggdrasil_device_v1_RoleKeys *keys)
{
    unsigned mask = 0;

    for (size_t i = 0; i < keys->keys_count; i++) {
        mask |= 1U << keys->keys[i];
    }
    CHECK_EQ(root->masks[role], mask);
    CHECK_EQ(root->thresholds[role], keys->threshold);
}

static void check_root(const uint8_t *data, size_t size)
{
    static yggdrasil_device_v1_Root message;
    struct ygg_root root;
    pb_istream_t in = pb_istream_from_buffer(data, size);

    CHECK(pb_decode(&in, yggdrasil_device_v1_Root_fields, &message));
    CHECK(ygg_root_read(data, size, &root));
    CHECK_EQ(root.version, message.version);
    CHECK_EQ(root.expires_unix_s, message.expires_unix_s);
    CHECK_EQ(root.count, message.keys_count);
    CHECK(memcmp(root.keys, message.keys, (size_t)root.count * YGG_KEY_BYTES) == 0);
    check_role(&root, YGG_ROLE_ROOT, &message.root);
    check_role(&root, YGG_ROLE_RELEASE, &message.release);
    check_role(&root, YGG_ROLE_TIMESTAMP, &message.timestamp);
}

static void check_manifest(const uint8_t *data, size_t size)
{
    static yggdrasil_device_v1_ReleaseManifest message;
    struct ygg_manifest manifest;
    pb_istream_t in = pb_istream_from_buffer(data, size);

    CHECK(pb_decode(&in, yggdrasil_device_v1_ReleaseManifest_fields, &message));
    CHECK(ygg_manifest_read(data, size, &manifest));
    CHECK_EQ(manifest.device_class_size, strlen(message.device_class));
    CHECK(memcmp(manifest.device_class, message.device_class, manifest.device_class_size) == 0);
    CHECK_EQ(manifest.sequence, message.sequence);
    CHECK_EQ(manifest.counter, message.security_counter);
    CHECK_EQ(manifest.slot_bytes, message.slot_size_bytes);
    CHECK_EQ(manifest.length, message.image_size_bytes);
    CHECK_EQ(manifest.chunk_bytes, message.chunk_size_bytes);
    CHECK_EQ(manifest.expires_unix_s, message.expires_unix_s);
    CHECK(memcmp(manifest.digest, message.image_sha256, YGG_SHA256_BYTES) == 0);
    CHECK(memcmp(manifest.chunks_root, message.chunks_root, YGG_SHA256_BYTES) == 0);
    CHECK_EQ(manifest.delta.precursor != NULL, message.has_delta);
    CHECK_EQ(manifest.delta.length, message.delta.patch_size_bytes);
}

static void check_timestamp(const uint8_t *data, size_t size)
{
    static yggdrasil_device_v1_Timestamp message;
    struct ygg_timestamp timestamp;
    pb_istream_t in = pb_istream_from_buffer(data, size);

    CHECK(pb_decode(&in, yggdrasil_device_v1_Timestamp_fields, &message));
    CHECK(ygg_timestamp_read(data, size, &timestamp));
    CHECK_EQ(timestamp.time_unix_s, message.time_unix_s);
    CHECK_EQ(timestamp.newest_sequence, message.newest_sequence);
    CHECK(memcmp(timestamp.nonce, message.nonce, YGG_NONCE_BYTES) == 0);
    CHECK_EQ(timestamp.device_id_size, strlen(message.device_id));
    CHECK_EQ(timestamp.names_release, message.release_sha256.size == YGG_SHA256_BYTES);
    CHECK_EQ(timestamp.allow_older, message.allow_older);
}

void vectors_check_signed(const char *name, const uint8_t *data, size_t size)
{
    if (strcmp(name, "signed_envelope.bin") == 0) {
        check_envelope(data, size);
    } else if (strcmp(name, "signed_root.bin") == 0) {
        check_root(data, size);
    } else if (strcmp(name, "signed_manifest.bin") == 0) {
        check_manifest(data, size);
    } else if (CHECK(strcmp(name, "signed_timestamp.bin") == 0)) {
        check_timestamp(data, size);
    }
}
