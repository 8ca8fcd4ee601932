#include "wire/metadata.h"

#include <string.h>

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5, VARINT_BYTES_MAX = 10 };
enum { CHUNK_BYTES_MIN = 256, CHUNK_BYTES_MAX = 2048, CHUNKS_MAX = 65536, TEXT_BYTES_MAX = 31 };

/* --- fields ------------------------------------------------------------------------------------------------------- */

struct ygg_fields ygg_fields_of(const uint8_t *data, size_t size)
{
    return (struct ygg_fields){.at = data, .end = size == 0 ? data : data + size}; /* `data` may be NULL then. */
}

static bool varint(struct ygg_fields *fields, uint64_t *out)
{
    *out = 0;
    for (unsigned i = 0; i < VARINT_BYTES_MAX && fields->at < fields->end; i++) {
        uint8_t byte = *fields->at++;

        *out |= (uint64_t)(byte & 0x7FU) << (7U * i);
        if ((byte & 0x80U) == 0) {
            return i < VARINT_BYTES_MAX - 1 || byte <= 1;
        }
    }
    return false;
}

static bool fixed(struct ygg_fields *fields, size_t size)
{
    if ((size_t)(fields->end - fields->at) < size) {
        return false;
    }
    fields->value = 0;
    for (size_t i = 0; i < size; i++) {
        fields->value |= (uint64_t)*fields->at++ << (8U * i);
    }
    return true;
}

static bool bytes(struct ygg_fields *fields)
{
    uint64_t size = 0;

    if (!varint(fields, &size) || size > (uint64_t)(fields->end - fields->at)) {
        return false;
    }
    fields->data = fields->at;
    fields->size = (size_t)size;
    fields->at += size;
    return true;
}

static bool content(struct ygg_fields *fields)
{
    switch (fields->type) {
    case VARINT:
        return varint(fields, &fields->value);
    case FIXED64:
        return fixed(fields, 8);
    case BYTES:
        return bytes(fields);
    case FIXED32:
        return fixed(fields, 4);
    default:
        return false;
    }
}

bool ygg_fields_next(struct ygg_fields *fields)
{
    uint64_t tag = 0;

    if (fields->broken || fields->at == fields->end) {
        return false;
    }
    bool whole = varint(fields, &tag) && tag >= 8 && tag <= UINT32_MAX;
    fields->number = (uint32_t)(tag >> 3U);
    fields->type = (uint8_t)(tag & 7U);
    fields->broken = !whole || !content(fields);
    return !fields->broken;
}

/* Content of a field; marks the message as broken if the type is wrong. */
static uint32_t number32(struct ygg_fields *fields)
{
    fields->broken |= fields->type != VARINT || fields->value > UINT32_MAX;
    return (uint32_t)fields->value;
}

static uint64_t number64(struct ygg_fields *fields)
{
    fields->broken |= fields->type != VARINT;
    return fields->value;
}

static const uint8_t *exactly(struct ygg_fields *fields, size_t size)
{
    fields->broken |= fields->type != BYTES || fields->size != size;
    return fields->data;
}

static const uint8_t *text(struct ygg_fields *fields, size_t max, size_t *size)
{
    fields->broken |= fields->type != BYTES || fields->size > max;
    for (size_t i = 0; !fields->broken && i < fields->size; i++) {
        fields->broken |= fields->data[i] < ' ' || fields->data[i] > '~';
    }
    *size = fields->size;
    return fields->data;
}

/* --- messages ----------------------------------------------------------------------------------------------------- */

static bool read_signature(const uint8_t *data, size_t size, struct ygg_signature *out)
{
    struct ygg_fields fields = ygg_fields_of(data, size);

    *out = (struct ygg_signature){0};
    while (ygg_fields_next(&fields)) {
        if (fields.number == 1) {
            out->key_id = exactly(&fields, YGG_KEY_ID_BYTES);
        } else if (fields.number == 2) {
            out->value = exactly(&fields, YGG_SIGNATURE_BYTES);
        }
    }
    return !fields.broken && out->key_id != NULL && out->value != NULL;
}

bool ygg_signed_read(const uint8_t *data, size_t size, struct ygg_signed *out)
{
    struct ygg_fields fields = ygg_fields_of(data, size);

    *out = (struct ygg_signed){0};
    while (ygg_fields_next(&fields)) {
        if (fields.number == 1) {
            fields.broken |= fields.type != BYTES;
            out->payload = fields.data;
            out->size = fields.size;
        } else if (fields.number == 2) {
            fields.broken |= fields.type != BYTES || out->count == YGG_KEYS_MAX ||
                             !read_signature(fields.data, fields.size, &out->signatures[out->count]);
            out->count = (uint8_t)(out->count + 1U);
        }
    }
    return !fields.broken && out->payload != NULL && out->size >= 1 && out->size <= YGG_SIGNED_BYTES_MAX;
}

/* Adds a key to a mask; indexes ascend. The field may be packed, as proto3 does, or not. */
static bool add_key(uint64_t index, uint8_t *mask)
{
    bool ascends = index < YGG_KEYS_MAX && (*mask >> index) == 0;

    *mask = (uint8_t)(*mask | (ascends ? 1U << index : 0U));
    return ascends;
}

static bool read_role(const uint8_t *data, size_t size, uint8_t *threshold, uint8_t *mask)
{
    struct ygg_fields fields = ygg_fields_of(data, size);

    *threshold = 0;
    *mask = 0;
    while (ygg_fields_next(&fields)) {
        if (fields.number == 1) {
            uint32_t required = number32(&fields);

            *threshold = required <= YGG_KEYS_MAX ? (uint8_t)required : 0;
        } else if (fields.number == 2 && fields.type == VARINT) {
            fields.broken |= !add_key(fields.value, mask);
        } else if (fields.number == 2) {
            struct ygg_fields packed = ygg_fields_of(fields.data, fields.type == BYTES ? fields.size : 0);
            uint64_t index = 0;

            while (!fields.broken && packed.at < packed.end) {
                fields.broken = !varint(&packed, &index) || !add_key(index, mask);
            }
        }
    }
    return !fields.broken;
}

static unsigned count_bits(uint8_t mask)
{
    unsigned count = 0;

    for (; mask != 0; mask &= (uint8_t)(mask - 1U)) {
        count++;
    }
    return count;
}

static bool keys_differ(const struct ygg_root *root)
{
    for (size_t i = 0; i < root->count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (memcmp(root->keys[i], root->keys[j], YGG_KEY_BYTES) == 0) {
                return false;
            }
        }
    }
    return true;
}

static bool root_fits(const struct ygg_root *root)
{
    for (size_t role = YGG_ROLE_ROOT; role < YGG_ROLES; role++) {
        if (root->thresholds[role] == 0 || root->thresholds[role] > count_bits(root->masks[role]) ||
            (root->masks[role] >> root->count) != 0) {
            return false;
        }
    }
    uint8_t offline = root->masks[YGG_ROLE_ROOT] | root->masks[YGG_ROLE_RELEASE];
    return root->version >= 1 && root->expires_unix_s > 0 && root->count >= 1 &&
           (offline & root->masks[YGG_ROLE_TIMESTAMP]) == 0 && keys_differ(root);
}

bool ygg_root_read(const uint8_t *data, size_t size, struct ygg_root *out)
{
    static const uint8_t roles[] = {[4] = YGG_ROLE_ROOT, [5] = YGG_ROLE_RELEASE, [6] = YGG_ROLE_TIMESTAMP};
    struct ygg_fields fields = ygg_fields_of(data, size);

    memset(out, 0, sizeof *out);
    while (ygg_fields_next(&fields)) {
        if (fields.number == 1) {
            out->version = number32(&fields);
        } else if (fields.number == 2) {
            out->expires_unix_s = number64(&fields);
        } else if (fields.number == 3) {
            const uint8_t *key = exactly(&fields, YGG_KEY_BYTES);

            fields.broken |= out->count == YGG_KEYS_MAX;
            if (!fields.broken) {
                memcpy(out->keys[out->count++], key, YGG_KEY_BYTES);
            }
        } else if (fields.number >= 4 && fields.number <= 6) {
            uint8_t role = roles[fields.number];

            fields.broken |= fields.type != BYTES ||
                             !read_role(fields.data, fields.size, &out->thresholds[role], &out->masks[role]);
        }
    }
    return !fields.broken && root_fits(out);
}

bool ygg_delta_read(const uint8_t *data, size_t size, struct ygg_delta *out)
{
    struct ygg_fields fields = ygg_fields_of(data, size);

    *out = (struct ygg_delta){0};
    while (ygg_fields_next(&fields)) {
        switch (fields.number) {
        case 1:
            out->precursor = exactly(&fields, YGG_SHA256_BYTES);
            break;
        case 2:
            out->length = number32(&fields);
            break;
        case 3:
            out->digest = exactly(&fields, YGG_SHA256_BYTES);
            break;
        case 4:
            out->chunks_root = exactly(&fields, YGG_SHA256_BYTES);
            break;
        default:
            break;
        }
    }
    return !fields.broken && out->precursor != NULL && out->digest != NULL && out->chunks_root != NULL &&
           out->length > 0;
}

static bool manifest_fits(const struct ygg_manifest *manifest)
{
    uint32_t chunk = manifest->chunk_bytes;

    return manifest->device_class_size > 0 && manifest->sequence > 0 && manifest->length > 0 &&
           manifest->length <= manifest->slot_bytes && manifest->digest != NULL && manifest->chunks_root != NULL &&
           manifest->expires_unix_s > 0 && chunk >= CHUNK_BYTES_MIN && chunk <= CHUNK_BYTES_MAX &&
           (chunk & (chunk - 1U)) == 0 && (manifest->length - 1U) / chunk < CHUNKS_MAX &&
           (manifest->delta.precursor == NULL || manifest->delta.length <= manifest->length);
}

/* Reads one field. The version is validated but not kept. */
static void manifest_field(struct ygg_fields *fields, struct ygg_manifest *out, size_t *version_size)
{
    switch (fields->number) {
    case 1:
        out->device_class = text(fields, TEXT_BYTES_MAX, &out->device_class_size);
        break;
    case 2:
        (void)text(fields, TEXT_BYTES_MAX, version_size);
        break;
    case 3:
        out->sequence = number32(fields);
        break;
    case 4:
        out->counter = number32(fields);
        break;
    case 5:
        out->slot_bytes = number32(fields);
        break;
    case 6:
        out->length = number32(fields);
        break;
    case 7:
        out->digest = exactly(fields, YGG_SHA256_BYTES);
        break;
    case 8:
        out->chunk_bytes = number32(fields);
        break;
    case 9:
        out->chunks_root = exactly(fields, YGG_SHA256_BYTES);
        break;
    case 10:
        out->expires_unix_s = number64(fields);
        break;
    case 11:
        fields->broken |= fields->type != BYTES || !ygg_delta_read(fields->data, fields->size, &out->delta);
        break;
    default:
        break;
    }
}

bool ygg_manifest_read(const uint8_t *data, size_t size, struct ygg_manifest *out)
{
    struct ygg_fields fields = ygg_fields_of(data, size);
    size_t version_size = 0;

    *out = (struct ygg_manifest){0};
    while (ygg_fields_next(&fields)) {
        manifest_field(&fields, out, &version_size);
    }
    return !fields.broken && version_size > 0 && manifest_fits(out);
}

static void timestamp_field(struct ygg_fields *fields, struct ygg_timestamp *out)
{
    switch (fields->number) {
    case 1:
        out->time_unix_s = number64(fields);
        break;
    case 2:
        out->newest_sequence = number32(fields);
        break;
    case 3:
        out->nonce = exactly(fields, YGG_NONCE_BYTES);
        break;
    case 4:
        fields->broken |= fields->type != BYTES;
        out->device_id = fields->data;
        out->device_id_size = fields->size;
        break;
    case 5:
        fields->broken |= fields->type != BYTES || (fields->size != 0 && fields->size != YGG_SHA256_BYTES);
        if (!fields->broken && fields->size != 0) {
            memcpy(out->release, fields->data, YGG_SHA256_BYTES);
            out->names_release = true;
        }
        break;
    case 6:
        out->allow_older = number64(fields) != 0;
        break;
    default:
        break;
    }
}

bool ygg_timestamp_read(const uint8_t *data, size_t size, struct ygg_timestamp *out)
{
    struct ygg_fields fields = ygg_fields_of(data, size);

    *out = (struct ygg_timestamp){0};
    while (ygg_fields_next(&fields)) {
        timestamp_field(&fields, out);
    }
    return !fields.broken && out->nonce != NULL;
}
