/* The chunks of an update. Each is verified against the tree before it is written. */
#include <string.h>

#include "core/merkle.h"
#include "core/ota.h"

enum { BAD_CHUNKS_MAX = 3, STRAY_CHUNKS_MAX = 16, PROGRESS_MS = 500, PROGRESS_PARTS = 20 };

struct chunk {
    uint64_t update_id;
    uint64_t offset;
    const uint8_t *data;
    size_t size;
    const uint8_t *path;
    size_t path_bytes;
};

/* Decodes in place: a chunk is larger than the scratch for other frames. */
static bool read_chunk(const struct ygg_envelope *envelope, struct chunk *out)
{
    struct ygg_fields fields = ygg_fields_of(envelope->body, envelope->length);

    *out = (struct chunk){0};
    while (ygg_fields_next(&fields)) {
        if (fields.number == 1 && fields.type == 1) {
            out->update_id = fields.value;
        } else if (fields.number == 2 && fields.type == 0) {
            out->offset = fields.value;
        } else if (fields.number == 3 && fields.type == 2) {
            out->data = fields.data;
            out->size = fields.size;
        } else if (fields.number == 4 && fields.type == 2) {
            out->path = fields.data;
            out->path_bytes = fields.size;
        }
    }
    return !fields.broken;
}

static bool chunk_holds(const struct ygg_agent *agent, const struct chunk *chunk)
{
    const struct ygg_ota *ota = ygg_ota_of(agent);
    const struct ygg_proof proof = {.root = ota->chunks_root,
                                    .path = chunk->path,
                                    .path_bytes = chunk->path_bytes,
                                    .index = ota->at / ota->chunk_bytes,
                                    .count = (ota->total - 1U) / ota->chunk_bytes + 1U};

    return ygg_proof_holds(&proof, chunk->data, chunk->size, agent->hal->hash, agent->hal->hash_ctx);
}

/* Requests the chunk again, a few times; then it assumes an attacker on the path and fails. */
static void bad_chunk(struct ygg_agent *agent)
{
    struct ygg_ota *ota = ygg_ota_of(agent);

    if (++ota->bad_chunks > BAD_CHUNKS_MAX) {
        ygg_ota_fail(agent, YGG_OTA_CHUNK);
        return;
    }
    ota->behind = (uint8_t)(ota->credit - 1U);
    ota->credit = 0;
    ota->request_due = true;
    ota->request_again = true;
}

static enum ygg_ota_code patch_code(enum ygg_err err)
{
    return err == YGG_ERR_IO || err == YGG_ERR_ARGUMENT || err == YGG_ERR_STATE ? YGG_OTA_FLASH : YGG_OTA_PATCH;
}

static void write_chunk(struct ygg_agent *agent, const struct chunk *chunk)
{
    struct ygg_ota *ota = ygg_ota_of(agent);
    enum ygg_err err = ota->uses_delta ? ygg_patch_write(&ota->patch, chunk->data, chunk->size)
                                       : ygg_install_write(&ota->install, chunk->data, chunk->size);

    if (err != YGG_OK) {
        ygg_ota_fail(agent, ota->uses_delta ? patch_code(err) : ygg_ota_code_of(err));
        return;
    }
    ota->at += (uint32_t)chunk->size;
    ota->credit--;
    ota->window_bytes += (uint32_t)chunk->size;
    ota->chunk_ms = ygg_now(agent);
    if (ota->at == ota->total) {
        if (ota->uses_delta && !ygg_patch_done(&ota->patch)) {
            ygg_ota_fail(agent, YGG_OTA_PATCH);
        } else {
            ygg_ota_installed(agent, ygg_install_finish(&ota->install));
        }
        return;
    }
    bool far = ota->at - ota->reported_bytes >= ota->total / PROGRESS_PARTS;
    ota->progress_due = far && ygg_now(agent) - ota->reported_ms >= PROGRESS_MS;
    ota->request_due = ota->request_due || ota->credit <= YGG_OTA_CREDIT_CHUNKS / 2;
}

enum ygg_err ygg_ota_on_chunk(struct ygg_agent *agent, const struct ygg_envelope *envelope)
{
    struct ygg_ota *ota = ygg_ota_of(agent);
    struct chunk chunk;

    if (!agent->ota) {
        return YGG_ERR_STATE;
    }
    if (!read_chunk(envelope, &chunk)) {
        return YGG_ERR_MALFORMED;
    }
    if (ota->phase != YGG_OTA_LOADING || chunk.update_id != ota->update_id) {
        return YGG_OK; /* In flight when the attempt ended. */
    }
    if (ota->credit == 0 || chunk.offset != ota->at) {
        if (ota->behind > 0) {
            ota->behind--; /* In flight behind a bad one. */
        } else if (++ota->stray_chunks == STRAY_CHUNKS_MAX) {
            ygg_ota_fail(agent, YGG_OTA_LENGTH);
        }
        return YGG_OK;
    }
    uint32_t left = ota->total - ota->at;
    uint32_t expected = left < ota->chunk_bytes ? left : ota->chunk_bytes;
    if (chunk.size != expected) {
        ygg_ota_fail(agent, YGG_OTA_LENGTH);
    } else if (!chunk_holds(agent, &chunk)) {
        bad_chunk(agent);
    } else {
        write_chunk(agent, &chunk);
    }
    return YGG_OK;
}
