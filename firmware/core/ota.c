/* Updates over the link. Drawn in ygg/ota.h. */
#include "ygg/ota.h"

#include <string.h>

#include "core/internal.h"
#include "core/merkle.h"

enum { CREDIT_CHUNKS = 16, BAD_CHUNKS_MAX = 3, STRAY_CHUNKS_MAX = 16, PROGRESS_MS = 500, PROGRESS_PARTS = 20 };

/* Too slow: no chunk for SILENT_MS, or less than SLOW_BYTES in SLOW_MS. */
enum { SILENT_MS = 60000, SLOW_MS = 300000, SLOW_BYTES = 4096 };

_Static_assert((int)YGG_OTA_NOT_CONFIRMED == (int)yggdrasil_device_v1_OtaCode_OTA_CODE_NOT_CONFIRMED, "codes agree");
_Static_assert((int)YGG_ROLE_RELEASE == (int)yggdrasil_device_v1_OtaRole_OTA_ROLE_RELEASE, "roles agree");
_Static_assert(YGG_TRUST_RECORD_BYTES <= YGG_ENVELOPE_BYTES_MAX, "a trust record is made where envelopes are");

static const char *const words[] = {
    [YGG_OTA_OK] = "",
    [YGG_OTA_MALFORMED] = "metadata are malformed or out of turn",
    [YGG_OTA_ROOT] = "the root does not follow the one before",
    [YGG_OTA_SIGNATURE] = "too few good signatures",
    [YGG_OTA_EXPIRED] = "root or release has expired",
    [YGG_OTA_STALE] = "the timestamp is not the answer to this session",
    [YGG_OTA_MIX_AND_MATCH] = "the timestamp names another release",
    [YGG_OTA_DEVICE_CLASS] = "the release is for another device class",
    [YGG_OTA_SLOT_SIZE] = "the release is for another slot size",
    [YGG_OTA_COUNTER] = "the security counter is below the device's",
    [YGG_OTA_SEQUENCE] = "the release is not the newest, nor allowed to be older",
    [YGG_OTA_PRECURSOR] = "the patch starts from another image, or is another one",
    [YGG_OTA_PATCH] = "the patch cannot be applied",
    [YGG_OTA_LENGTH] = "bytes outside what was announced or asked for",
    [YGG_OTA_CHUNK] = "a chunk does not fit the release",
    [YGG_OTA_DIGEST] = "read back, the image has another digest",
    [YGG_OTA_BUSY] = "another update is pending",
    [YGG_OTA_FLASH] = "flash failed",
    [YGG_OTA_ABORTED] = "told to stop",
    [YGG_OTA_TIMEOUT] = "too little came in too long a time",
    [YGG_OTA_ALREADY] = "the image runs already",
    [YGG_OTA_SELF_TEST] = "the self-test failed",
    [YGG_OTA_NOT_CONFIRMED] = "the image was not confirmed in time",
};

static struct ygg_ota *ota_of(const struct ygg_agent *agent)
{
    return agent->config->ota;
}

static void say_code(const struct ygg_agent *agent, const char *event, enum ygg_ota_code code)
{
    const struct ygg_log_field fields[] = {{.key = "code", .number = code}, {.key = "message", .text = words[code]}};

    ygg_say(agent, code == YGG_OTA_OK ? YGG_LOG_INFO : YGG_LOG_WARNING, event, fields, code == YGG_OTA_OK ? 0 : 2);
}

/* --- the image that runs ------------------------------------------------------------------------------------------- */

static const struct ygg_image *running_image(const struct ygg_ota *ota)
{
    return ota->boot->running == YGG_SLOT_NONE ? NULL : &ota->boot->slots[ota->boot->running].image;
}

static bool on_trial(const struct ygg_ota *ota)
{
    return ota->boot->state == YGG_BOOT_TRIAL && ota->boot->running == ota->boot->trial;
}

/* Stops the agent, for a restart through the bootloader. */
static void restart(struct ygg_agent *agent)
{
    ota_of(agent)->restart = true;
    ygg_agent_stop(agent);
}

static void give_up_trial(struct ygg_agent *agent, enum ygg_boot_outcome why)
{
    /* Where the record cannot be written the boot counter ends the trial. */
    (void)ygg_boot_revert(ota_of(agent)->boot, why);
    say_code(agent, "ota_reverting", why == YGG_BOOT_SELF_TEST ? YGG_OTA_SELF_TEST : YGG_OTA_NOT_CONFIRMED);
    restart(agent);
}

/* The session has its contract: the bridge is authenticated and has taken what this image can do. */
static void judge_trial(struct ygg_agent *agent)
{
    struct ygg_ota *ota = ota_of(agent);

    if (!ota->self_test(ota->self_test_ctx)) {
        give_up_trial(agent, YGG_BOOT_SELF_TEST);
    } else if (ygg_boot_confirm(ota->boot) == YGG_OK) {
        say_code(agent, "ota_confirmed", YGG_OTA_OK);
    } else {
        say_code(agent, "ota_not_confirmed", YGG_OTA_FLASH); /* Again in the next session, or the time runs out. */
    }
}

/* --- beginning and ending ------------------------------------------------------------------------------------------ */

enum ygg_err ygg_ota_open(struct ygg_agent *agent)
{
    struct ygg_ota *ota = ota_of(agent);

    if (ota == NULL) {
        return YGG_OK;
    }
    if (ota->trial_ms == 0 || ota->self_test == NULL) {
        return YGG_ERR_ARGUMENT;
    }
    ota->trust = (struct ygg_trust){.layout = ota->boot->layout, .hash = agent->hal->hash, .hash_ctx = agent->hal->hash_ctx,
                                    .verify = ota->verify, .verify_ctx = ota->verify_ctx, .room = ota->metadata};
    ota->install.boot = ota->boot;
    enum ygg_ota_code code = ygg_trust_open(&ota->trust, ota->first_root, ota->first_root_size);
    ota->usable = code == YGG_OTA_OK;
    if (!ota->usable) {
        say_code(agent, "ota_unusable", code); /* The device works all the same; it just takes no updates. */
    }
    return YGG_OK;
}

/* A timestamp answers one offer of one session only. Without randomness none is believed. */
static void renew_nonce(struct ygg_agent *agent)
{
    struct ygg_ota *ota = ota_of(agent);

    ota->timestamped = false;
    ota->has_nonce = agent->hal->platform->random(agent->hal->platform_ctx, ota->nonce, sizeof ota->nonce) == YGG_OK;
}

static void renew_status(struct ygg_agent *agent)
{
    renew_nonce(agent);
    ota_of(agent)->status_due = true;
}

void ygg_ota_begin(struct ygg_agent *agent)
{
    struct ygg_ota *ota = ota_of(agent);

    if (ota == NULL) {
        return;
    }
    if (on_trial(ota)) {
        judge_trial(agent);
    }
    if (agent->ota && ota->usable) {
        renew_status(agent);
    }
}

void ygg_ota_end(struct ygg_agent *agent)
{
    struct ygg_ota *ota = ota_of(agent);

    if (ota == NULL) {
        return;
    }
    if (ota->phase == YGG_OTA_INSTALLED) {
        ota->restart = true; /* Whoever was to be told is gone; the status after the restart says it. */
        agent->stopping = true;
        return;
    }
    ota->phase = YGG_OTA_IDLE; /* What is written stays, and the patch's state: an offer goes on with it. */
    ota->status_due = ota->accept_due = ota->reject_due = ota->request_due = ota->result_due = ota->progress_due = false;
}

/* Ends the attempt before anything was erased. */
static void reject(struct ygg_agent *agent, uint64_t update_id, enum ygg_ota_code code)
{
    struct ygg_ota *ota = ota_of(agent);

    ota->rejected = code;
    ota->rejected_id = update_id;
    ota->reject_due = true;
    if (ota->phase == YGG_OTA_METADATA) {
        ota->phase = YGG_OTA_IDLE;
    }
    say_code(agent, "ota_rejected", code);
    renew_status(agent);
}

/* Ends the attempt after it was accepted. */
static void fail(struct ygg_agent *agent, enum ygg_ota_code code)
{
    struct ygg_ota *ota = ota_of(agent);

    ota->phase = YGG_OTA_IDLE;
    ota->failed = code;
    ota->result_due = true;
    ota->accept_due = ota->request_due = ota->progress_due = false;
    if (ota->uses_delta) {
        ota->install.open = false; /* What a patch has made so far is of no use to anybody else. */
    }
    say_code(agent, "ota_failed", code);
    renew_status(agent);
}

static enum ygg_ota_code code_of(enum ygg_err err)
{
    return err == YGG_ERR_REFUSED     ? YGG_OTA_COUNTER
           : err == YGG_ERR_MALFORMED ? YGG_OTA_DIGEST
           : err == YGG_ERR_TOO_LONG  ? YGG_OTA_LENGTH
           : err == YGG_ERR_STATE     ? YGG_OTA_BUSY
                                      : YGG_OTA_FLASH;
}

/* The image is staged, or not: the bridge is told, then the device restarts. */
static void installed(struct ygg_agent *agent, enum ygg_err err)
{
    struct ygg_ota *ota = ota_of(agent);

    if (err != YGG_OK) {
        fail(agent, code_of(err));
        return;
    }
    ota->phase = YGG_OTA_INSTALLED;
    ota->failed = YGG_OTA_OK;
    ota->result_due = true;
    ota->progress_due = ota->request_due = false;
    say_code(agent, "ota_installed", YGG_OTA_OK);
}

/* --- the offer ------------------------------------------------------------------------------------------------------ */

/* What was offered before is over without a word; what it has written stays. */
enum ygg_err ygg_ota_offer(struct ygg_agent *agent, const yggdrasil_device_v1_OtaOffer *offer)
{
    struct ygg_ota *ota = ota_of(agent);

    if (!agent->ota || !ota->usable) {
        return YGG_ERR_STATE;
    }
    if (offer->update_id == 0) {
        return YGG_ERR_MALFORMED;
    }
    ota->accept_due = ota->request_due = ota->progress_due = false;
    if (ota->phase == YGG_OTA_INSTALLED || (ota->boot->state != YGG_BOOT_CONFIRMED && ota->boot->running != YGG_SLOT_NONE)) {
        reject(agent, offer->update_id, YGG_OTA_BUSY);
        return YGG_OK;
    }
    ota->phase = YGG_OTA_METADATA;
    ota->update_id = offer->update_id;
    ota->roots_due = offer->roots;
    ota->metadata_have = 0;
    ota->metadata_role = 0;
    ota->timestamped = false;
    ota->window_ms = ota->chunk_ms = ygg_now(agent);
    ota->offers_delta = offer->has_delta;
    memcpy(ota->delta.precursor, offer->delta.precursor_sha256, YGG_SHA256_BYTES);
    memcpy(ota->delta.digest, offer->delta.patch_sha256, YGG_SHA256_BYTES);
    memcpy(ota->delta.chunks_root, offer->delta.patch_chunks_root, YGG_SHA256_BYTES);
    ota->delta.length = offer->delta.patch_size_bytes;
    return YGG_OK;
}

/* Whether the spare slot has the image already, whole. */
static bool is_there(const struct ygg_ota *ota, enum ygg_slot spare)
{
    const struct ygg_boot_slot *slot = &ota->boot->slots[spare];

    return slot->state != YGG_SLOT_EMPTY && slot->image.length == ota->image.length &&
           memcmp(slot->image.digest, ota->image.digest, YGG_SHA256_BYTES) == 0 &&
           ygg_boot_holds(ota->boot, spare, &ota->image);
}

/* Tries what is in the spare slot: back to an image that was good, or once more one that was not. */
static enum ygg_err stage_spare(struct ygg_ota *ota, enum ygg_slot spare)
{
    const struct ygg_boot_slot *slot = &ota->boot->slots[spare];
    bool same = slot->image.counter == ota->image.counter && slot->image.sequence == ota->image.sequence;

    if (slot->state == YGG_SLOT_GOOD && same) {
        return ygg_boot_rollback(ota->boot, ota->update_id);
    }
    enum ygg_err err = ygg_boot_claim(ota->boot, ota->update_id);
    return err == YGG_OK ? ygg_boot_stage(ota->boot, &ota->image) : err;
}

static enum ygg_err begin_patch(struct ygg_ota *ota)
{
    ota->total = ota->delta.length;
    ota->at = 0;
    ota->uses_delta = true;
    memcpy(ota->chunks_root, ota->delta.chunks_root, YGG_SHA256_BYTES);
    ota->patch = (struct ygg_patch){.install = &ota->install,
                                    .from = ota->boot->layout->slots[ota->boot->running],
                                    .from_length = running_image(ota)->length};
    return ygg_install_begin(&ota->install, &ota->image, ota->chunks_root, ota->update_id, 0, false);
}

static enum ygg_err begin_image(struct ygg_ota *ota, uint32_t found)
{
    ota->total = ota->image.length;
    ota->at = found;
    ota->uses_delta = false;
    return ygg_install_begin(&ota->install, &ota->image, ota->chunks_root, ota->update_id, found, true);
}

static void say_accepted(const struct ygg_agent *agent)
{
    const struct ygg_ota *ota = ota_of(agent);
    const struct ygg_log_field fields[] = {{.key = "kind", .text = ota->uses_delta ? "patch" : "image"},
                                           {.key = "bytes", .number = ota->total},
                                           {.key = "from", .number = ota->at}};

    ygg_say(agent, YGG_LOG_INFO, "ota_accepted", fields, 3);
}

/* The release is good. From here on flash is written. */
static void accept(struct ygg_agent *agent, bool delta)
{
    struct ygg_ota *ota = ota_of(agent);
    enum ygg_slot spare = ygg_boot_spare(ota->boot);
    uint32_t found = ygg_install_found(ota->boot, &ota->image, ota->chunks_root);

    renew_nonce(agent); /* The old one is used up. */
    ota->phase = YGG_OTA_LOADING;
    ota->accept_due = true;
    ota->bad_chunks = 0;
    ota->stray_chunks = 0;
    ota->behind = 0;
    ota->credit = 0;
    ota->window_bytes = 0;
    ota->window_ms = ota->chunk_ms = ygg_now(agent);
    if (is_there(ota, spare)) {
        ota->uses_delta = false;
        ota->at = ota->total = ota->image.length;
        say_accepted(agent);
        installed(agent, stage_spare(ota, spare));
        return;
    }
    found = found % ota->chunk_bytes == 0 || found == ota->image.length ? found : 0;
    bool shorter = delta && ota->delta.length < ota->image.length - found;
    enum ygg_err err = shorter ? begin_patch(ota) : begin_image(ota, found);
    ota->told = ota->at;
    ota->told_ms = ygg_now(agent);
    say_accepted(agent);
    if (err != YGG_OK) {
        fail(agent, code_of(err));
    } else if (ota->at == ota->total && !ota->uses_delta) {
        installed(agent, ygg_install_finish(&ota->install));
    } else {
        ota->request_due = true;
        ota->request_again = false;
    }
}

static void on_release(struct ygg_agent *agent, const struct ygg_standing *standing)
{
    struct ygg_ota *ota = ota_of(agent);
    const struct ygg_image *running = running_image(ota);
    struct ygg_manifest manifest;
    const struct ygg_delta delta = {.precursor = ota->delta.precursor, .digest = ota->delta.digest,
                                    .chunks_root = ota->delta.chunks_root, .length = ota->delta.length};
    enum ygg_ota_code code = ygg_trust_release(&ota->trust, ota->metadata, ota->metadata_size, &ota->timestamp, standing,
                                               &manifest);

    if (code == YGG_OTA_OK && running != NULL && memcmp(running->digest, manifest.digest, YGG_SHA256_BYTES) == 0) {
        code = YGG_OTA_ALREADY;
    }
    if (code == YGG_OTA_OK && ota->offers_delta) {
        code = running == NULL ? YGG_OTA_PRECURSOR : ygg_trust_patch(&manifest, &delta, running->digest);
    }
    if (code != YGG_OTA_OK) {
        reject(agent, ota->update_id, code);
        return;
    }
    ota->image = (struct ygg_image){.length = manifest.length, .counter = manifest.counter, .sequence = manifest.sequence};
    memcpy(ota->image.digest, manifest.digest, YGG_SHA256_BYTES);
    memcpy(ota->chunks_root, manifest.chunks_root, YGG_SHA256_BYTES);
    ota->chunk_bytes = manifest.chunk_bytes;
    accept(agent, ota->offers_delta);
}

/* An envelope is complete. */
static void on_envelope(struct ygg_agent *agent)
{
    struct ygg_ota *ota = ota_of(agent);
    const struct ygg_image *running = running_image(ota);
    const struct ygg_standing standing = {.device_id = agent->config->device_id,
                                          .device_class = agent->config->device_class,
                                          .nonce = ota->nonce,
                                          .slot_bytes = ota->boot->layout->slot_bytes,
                                          .sequence = running == NULL ? 0 : running->sequence,
                                          .counter_floor = ota->boot->counter_floor};
    enum ygg_ota_code code = YGG_OTA_OK;

    ota->metadata_have = 0;
    if (ota->metadata_role == YGG_ROLE_RELEASE) {
        on_release(agent, &standing);
        return;
    }
    if (ota->metadata_role == YGG_ROLE_ROOT) {
        code = ygg_trust_next_root(&ota->trust, ota->metadata, ota->metadata_size);
        ota->roots_due--;
    } else {
        code = ota->has_nonce ? ygg_trust_timestamp(&ota->trust, ota->metadata, ota->metadata_size, &standing, &ota->timestamp)
                              : YGG_OTA_STALE;
        ota->timestamped = code == YGG_OTA_OK;
    }
    if (code != YGG_OTA_OK) {
        reject(agent, ota->update_id, code);
    }
}

static uint8_t expected_role(const struct ygg_ota *ota)
{
    return ota->roots_due > 0 ? YGG_ROLE_ROOT : ota->timestamped ? YGG_ROLE_RELEASE : YGG_ROLE_TIMESTAMP;
}

/* Whether a slice is the next one. The length is looked at before anything else is. */
static bool slice_fits(const struct ygg_ota *ota, const yggdrasil_device_v1_OtaMetadata *slice)
{
    uint32_t most = slice->role == yggdrasil_device_v1_OtaRole_OTA_ROLE_RELEASE ? YGG_RELEASE_BYTES_MAX : YGG_ENVELOPE_BYTES_MAX;
    bool first = ota->metadata_have == 0;

    return slice->size_bytes > 0 && slice->size_bytes <= most && slice->data.size > 0 &&
           slice->offset_bytes == ota->metadata_have && (uint32_t)slice->role == expected_role(ota) &&
           (first || slice->size_bytes == ota->metadata_size) &&
           slice->data.size <= slice->size_bytes - slice->offset_bytes;
}

enum ygg_err ygg_ota_metadata(struct ygg_agent *agent, const yggdrasil_device_v1_OtaMetadata *slice)
{
    struct ygg_ota *ota = ota_of(agent);

    if (!agent->ota) {
        return YGG_ERR_STATE;
    }
    if (ota->phase != YGG_OTA_METADATA || slice->update_id != ota->update_id) {
        return YGG_OK; /* Of an offer that was refused meanwhile. */
    }
    if (!slice_fits(ota, slice)) {
        reject(agent, ota->update_id, YGG_OTA_MALFORMED);
        return YGG_OK;
    }
    memcpy(ota->metadata + ota->metadata_have, slice->data.bytes, slice->data.size);
    ota->metadata_role = (uint8_t)slice->role;
    ota->metadata_size = slice->size_bytes;
    ota->metadata_have += slice->data.size;
    if (ota->metadata_have == ota->metadata_size) {
        on_envelope(agent);
    }
    return YGG_OK;
}

/* --- chunks --------------------------------------------------------------------------------------------------------- */

struct chunk {
    uint64_t update_id;
    uint64_t offset;
    const uint8_t *data;
    size_t size;
    const uint8_t *path;
    size_t path_bytes;
};

/* In place: a chunk is larger than the room that other frames are decoded in. */
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
    const struct ygg_ota *ota = ota_of(agent);
    const struct ygg_proof proof = {.root = ota->chunks_root, .path = chunk->path, .path_bytes = chunk->path_bytes,
                                    .index = ota->at / ota->chunk_bytes,
                                    .count = (ota->total - 1U) / ota->chunk_bytes + 1U};

    return ygg_proof_holds(&proof, chunk->data, chunk->size, agent->hal->hash, agent->hal->hash_ctx);
}

/* Asks for it again a few times; then somebody on the way does not want this to succeed. */
static void bad_chunk(struct ygg_agent *agent)
{
    struct ygg_ota *ota = ota_of(agent);

    if (++ota->bad_chunks > BAD_CHUNKS_MAX) {
        fail(agent, YGG_OTA_CHUNK);
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
    struct ygg_ota *ota = ota_of(agent);
    enum ygg_err err = ota->uses_delta ? ygg_patch_write(&ota->patch, chunk->data, chunk->size)
                                       : ygg_install_write(&ota->install, chunk->data, chunk->size);

    if (err != YGG_OK) {
        fail(agent, ota->uses_delta ? patch_code(err) : code_of(err));
        return;
    }
    ota->at += (uint32_t)chunk->size;
    ota->credit--;
    ota->window_bytes += (uint32_t)chunk->size;
    ota->chunk_ms = ygg_now(agent);
    if (ota->at == ota->total) {
        if (ota->uses_delta && !ygg_patch_done(&ota->patch)) {
            fail(agent, YGG_OTA_PATCH);
        } else {
            installed(agent, ygg_install_finish(&ota->install));
        }
        return;
    }
    bool far = ota->at - ota->told >= ota->total / PROGRESS_PARTS;
    ota->progress_due = far && ygg_now(agent) - ota->told_ms >= PROGRESS_MS;
    ota->request_due = ota->request_due || ota->credit <= CREDIT_CHUNKS / 2;
}

enum ygg_err ygg_ota_chunk(struct ygg_agent *agent, const struct ygg_envelope *envelope)
{
    struct ygg_ota *ota = ota_of(agent);
    struct chunk chunk;

    if (!agent->ota) {
        return YGG_ERR_STATE;
    }
    if (!read_chunk(envelope, &chunk)) {
        return YGG_ERR_MALFORMED;
    }
    if (ota->phase != YGG_OTA_LOADING || chunk.update_id != ota->update_id) {
        return YGG_OK; /* Sent before it could know. */
    }
    if (ota->credit == 0 || chunk.offset != ota->at) {
        if (ota->behind > 0) {
            ota->behind--; /* Was on the way behind a bad one. */
        } else if (++ota->stray_chunks == STRAY_CHUNKS_MAX) {
            fail(agent, YGG_OTA_LENGTH);
        }
        return YGG_OK;
    }
    uint32_t left = ota->total - ota->at;
    uint32_t expected = left < ota->chunk_bytes ? left : ota->chunk_bytes;
    if (chunk.size != expected) {
        fail(agent, YGG_OTA_LENGTH);
    } else if (!chunk_holds(agent, &chunk)) {
        bad_chunk(agent);
    } else {
        write_chunk(agent, &chunk);
    }
    return YGG_OK;
}

enum ygg_err ygg_ota_abort(struct ygg_agent *agent, const yggdrasil_device_v1_OtaAbort *abort_frame)
{
    struct ygg_ota *ota = ota_of(agent);

    if (!agent->ota) {
        return YGG_ERR_STATE;
    }
    if (abort_frame->update_id != ota->update_id || ota->phase == YGG_OTA_IDLE) {
        return YGG_OK;
    }
    if (ota->phase == YGG_OTA_METADATA) {
        reject(agent, ota->update_id, YGG_OTA_ABORTED);
        return YGG_OK;
    }
    if (ota->phase == YGG_OTA_INSTALLED && ygg_boot_revert(ota->boot, YGG_BOOT_TOLD) != YGG_OK) {
        return YGG_OK; /* Flash failed: it will be tried, and the boot counter ends it. */
    }
    fail(agent, YGG_OTA_ABORTED);
    return YGG_OK;
}

/* --- time ----------------------------------------------------------------------------------------------------------- */

static uint64_t trial_end_ms(const struct ygg_agent *agent)
{
    const struct ygg_ota *ota = ota_of(agent);

    return ota != NULL && on_trial(ota) && !ota->restart ? agent->boot_ms + ota->trial_ms : UINT64_MAX;
}

static uint64_t slow_end_ms(const struct ygg_agent *agent)
{
    const struct ygg_ota *ota = ota_of(agent);
    bool waits = ota != NULL && (ota->phase == YGG_OTA_METADATA || ota->phase == YGG_OTA_LOADING);
    uint64_t silent = waits ? ota->chunk_ms + SILENT_MS : UINT64_MAX;

    return waits && ota->window_ms + SLOW_MS < silent ? ota->window_ms + SLOW_MS : silent;
}

uint64_t ygg_ota_wake_ms(const struct ygg_agent *agent)
{
    uint64_t trial = trial_end_ms(agent);
    uint64_t slow = slow_end_ms(agent);

    return trial < slow ? trial : slow;
}

void ygg_ota_expire(struct ygg_agent *agent)
{
    struct ygg_ota *ota = ota_of(agent);
    uint64_t now = ygg_now(agent);

    if (now >= trial_end_ms(agent)) {
        give_up_trial(agent, YGG_BOOT_TIME_UP);
    } else if (now >= slow_end_ms(agent)) {
        bool silent = now >= ota->chunk_ms + SILENT_MS;

        if (ota->phase == YGG_OTA_METADATA) {
            reject(agent, ota->update_id, YGG_OTA_TIMEOUT);
        } else if (silent || ota->window_bytes < SLOW_BYTES) {
            fail(agent, YGG_OTA_TIMEOUT);
        }
        ota->window_ms = now;
        ota->window_bytes = 0;
        agent->busy = true;
    }
}

/* --- what is told ---------------------------------------------------------------------------------------------------- */

static yggdrasil_device_v1_OtaState state_of(const struct ygg_ota *ota)
{
    const struct ygg_boot *boot = ota->boot;
    bool partial = boot->update_id != 0 && boot->outcome == YGG_BOOT_NEVER &&
                   boot->slots[ygg_boot_spare(boot)].state == YGG_SLOT_EMPTY;

    if (boot->running == YGG_SLOT_NONE) {
        return yggdrasil_device_v1_OtaState_OTA_STATE_SAFE_MODE;
    }
    if (on_trial(ota)) {
        return yggdrasil_device_v1_OtaState_OTA_STATE_TRIAL;
    }
    if (boot->state != YGG_BOOT_CONFIRMED) {
        return yggdrasil_device_v1_OtaState_OTA_STATE_INSTALLED;
    }
    return partial ? yggdrasil_device_v1_OtaState_OTA_STATE_PARTIAL : yggdrasil_device_v1_OtaState_OTA_STATE_IDLE;
}

/* How the last update ended, by the boot state; of one that never came to boot, by this boot's memory. */
static void fill_outcome(const struct ygg_ota *ota, yggdrasil_device_v1_OtaStatus *status)
{
    static const struct {
        uint8_t outcome;
        uint8_t code;
    } table[] = {
        [YGG_BOOT_NEVER] = {yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_PENDING, YGG_OTA_OK},
        [YGG_BOOT_WAS_CONFIRMED] = {yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_CONFIRMED, YGG_OTA_OK},
        [YGG_BOOT_TOLD] = {yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_FAILED, YGG_OTA_ABORTED},
        [YGG_BOOT_OUT_OF_BOOTS] = {yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_REVERTED, YGG_OTA_NOT_CONFIRMED},
        [YGG_BOOT_DAMAGED] = {yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_REVERTED, YGG_OTA_DIGEST},
        [YGG_BOOT_TIME_UP] = {yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_REVERTED, YGG_OTA_NOT_CONFIRMED},
        [YGG_BOOT_SELF_TEST] = {yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_REVERTED, YGG_OTA_SELF_TEST},
        [YGG_BOOT_OVERRULED] = {yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_REVERTED, YGG_OTA_ABORTED},
    };
    const struct ygg_boot *boot = ota->boot;

    if (boot->update_id == 0) {
        return;
    }
    size_t row = (size_t)boot->outcome < sizeof table / sizeof table[0] ? (size_t)boot->outcome : 0;
    bool failed = boot->outcome == YGG_BOOT_NEVER && ota->failed != YGG_OTA_OK && ota->phase == YGG_OTA_IDLE;
    status->update_id = boot->update_id;
    status->outcome = failed ? yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_FAILED
                             : (yggdrasil_device_v1_OtaOutcome)table[row].outcome;
    status->code = (yggdrasil_device_v1_OtaCode)(failed ? (uint8_t)ota->failed : table[row].code);
}

static enum ygg_err send_status(struct ygg_agent *agent)
{
    const struct ygg_ota *ota = ota_of(agent);
    const struct ygg_boot *boot = ota->boot;
    const struct ygg_image *running = running_image(ota);
    const struct ygg_boot_slot *spare = &boot->slots[ygg_boot_spare(boot)];
    union ygg_body *body = ygg_scratch_body(agent);
    yggdrasil_device_v1_OtaStatus *status = &body->ota_status;

    memset(status, 0, sizeof *status);
    memcpy(status->nonce, ota->nonce, sizeof ota->nonce);
    status->state = state_of(ota);
    if (running != NULL) {
        memcpy(status->image_sha256, running->digest, YGG_SHA256_BYTES);
        status->image_size_bytes = running->length;
        status->sequence = running->sequence;
    }
    status->security_counter = boot->counter_floor;
    status->root_version = ota->trust.root.version;
    status->slot_size_bytes = boot->layout->slot_bytes;
    if (spare->state != YGG_SLOT_EMPTY && spare->image.counter >= boot->counter_floor && !on_trial(ota)) {
        status->other_sha256.size = YGG_SHA256_BYTES;
        memcpy(status->other_sha256.bytes, spare->image.digest, YGG_SHA256_BYTES);
    }
    fill_outcome(ota, status);
    status->patch_formats = YGG_PATCH_FORMATS;
    status->newest_sequence = ota->trust.newest_sequence;
    return ygg_session_send(agent, YGG_BODY_OTA_STATUS, body);
}

static void copy_words(char *out, size_t size, enum ygg_ota_code code)
{
    size_t length = strlen(words[code]);

    length = length < size ? length : size - 1;
    memcpy(out, words[code], length);
    out[length] = '\0';
}

static enum ygg_err send_reject(struct ygg_agent *agent)
{
    const struct ygg_ota *ota = ota_of(agent);
    union ygg_body *body = ygg_scratch_body(agent);

    memset(&body->ota_reject, 0, sizeof body->ota_reject);
    body->ota_reject.update_id = ota->rejected_id;
    body->ota_reject.code = (yggdrasil_device_v1_OtaCode)ota->rejected;
    copy_words(body->ota_reject.message, sizeof body->ota_reject.message, ota->rejected);
    return ygg_session_send(agent, YGG_BODY_OTA_REJECT, body);
}

static enum ygg_err send_accept(struct ygg_agent *agent)
{
    const struct ygg_ota *ota = ota_of(agent);
    union ygg_body *body = ygg_scratch_body(agent);

    body->ota_accept = (yggdrasil_device_v1_OtaAccept){.update_id = ota->update_id, .delta = ota->uses_delta,
                                                       .offset_bytes = ota->at};
    return ygg_session_send(agent, YGG_BODY_OTA_ACCEPT, body);
}

static enum ygg_err send_request(struct ygg_agent *agent)
{
    struct ygg_ota *ota = ota_of(agent);
    union ygg_body *body = ygg_scratch_body(agent);

    body->ota_chunk_request = (yggdrasil_device_v1_OtaChunkRequest){
        .update_id = ota->update_id, .offset_bytes = ota->at, .chunks = CREDIT_CHUNKS, .again = ota->request_again};
    enum ygg_err err = ygg_session_send(agent, YGG_BODY_OTA_CHUNK_REQUEST, body);
    if (err == YGG_OK) {
        ota->credit = CREDIT_CHUNKS;
        ota->request_again = false;
    }
    return err;
}

static enum ygg_err send_progress(struct ygg_agent *agent)
{
    struct ygg_ota *ota = ota_of(agent);
    union ygg_body *body = ygg_scratch_body(agent);

    body->ota_progress = (yggdrasil_device_v1_OtaProgress){.update_id = ota->update_id,
                                                           .written_bytes = ota->install.written};
    enum ygg_err err = ygg_session_send(agent, YGG_BODY_OTA_PROGRESS, body);
    if (err == YGG_OK) {
        ota->told = ota->at;
        ota->told_ms = ygg_now(agent);
    }
    return err;
}

static enum ygg_err send_result(struct ygg_agent *agent)
{
    const struct ygg_ota *ota = ota_of(agent);
    union ygg_body *body = ygg_scratch_body(agent);
    bool good = ota->phase == YGG_OTA_INSTALLED;

    memset(&body->ota_result, 0, sizeof body->ota_result);
    body->ota_result.update_id = ota->update_id;
    body->ota_result.outcome = good ? yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_PENDING
                                    : yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_FAILED;
    body->ota_result.code = (yggdrasil_device_v1_OtaCode)(good ? YGG_OTA_OK : ota->failed);
    copy_words(body->ota_result.message, sizeof body->ota_result.message, good ? YGG_OTA_OK : ota->failed);
    return ygg_session_send(agent, YGG_BODY_OTA_RESULT, body);
}

/* Sends what is due and fits. True where something was sent. */
static bool send_one(struct ygg_agent *agent, bool *due, enum ygg_err (*send)(struct ygg_agent *agent))
{
    if (!*due || !ygg_has_room(agent) || send(agent) != YGG_OK) {
        return false;
    }
    *due = false;
    return true;
}

bool ygg_ota_produce(struct ygg_agent *agent)
{
    struct ygg_ota *ota = ota_of(agent);
    bool sent = false;

    if (!agent->ota || ota == NULL) {
        return false;
    }
    sent |= send_one(agent, &ota->reject_due, send_reject);
    sent |= send_one(agent, &ota->accept_due, send_accept);
    sent |= send_one(agent, &ota->progress_due, send_progress);
    sent |= send_one(agent, &ota->result_due, send_result);
    sent |= send_one(agent, &ota->request_due, send_request);
    sent |= send_one(agent, &ota->status_due, send_status);
    if (ota->phase == YGG_OTA_INSTALLED && !ota->result_due && !ota->restart && ygg_link_flushed(agent)) {
        restart(agent);
        sent = true;
    }
    return sent;
}

bool ygg_agent_wants_restart(const struct ygg_agent *agent)
{
    return agent->config->ota != NULL && agent->config->ota->restart && agent->state == YGG_STATE_STOPPED;
}
