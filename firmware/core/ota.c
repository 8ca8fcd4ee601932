/* Updates over the link: trial, offer, metadata and timeouts. Drawn in ygg/ota.h. Chunks are in ota_chunks.c, outgoing
 * frames in ota_report.c. */
#include "ygg/ota.h"

#include <string.h>

#include "core/ota.h"

/* A download times out after IDLE_TIMEOUT_MS without a chunk, or below RATE_WINDOW_BYTES_MIN bytes in
 * RATE_WINDOW_MS. */
enum { IDLE_TIMEOUT_MS = 60000, RATE_WINDOW_MS = 300000, RATE_WINDOW_BYTES_MIN = 4096 };

_Static_assert((int)YGG_ROLE_RELEASE == (int)yggdrasil_device_v1_OtaRole_OTA_ROLE_RELEASE, "roles agree");
_Static_assert(YGG_TRUST_RECORD_BYTES <= YGG_ENVELOPE_BYTES_MAX, "a trust record is made where envelopes are");

/* --- the trial ------------------------------------------------------------------------------------------------------ */

void ygg_ota_restart(struct ygg_agent *agent)
{
    ygg_ota_of(agent)->restart = true;
    ygg_agent_stop(agent);
}

enum ygg_err ygg_ota_roll_back(struct ygg_agent *agent)
{
    struct ygg_ota *ota = ygg_ota_of(agent);
    enum ygg_err err = ota == NULL || ota->phase == YGG_OTA_INSTALLED ? YGG_ERR_STATE : ygg_boot_rollback(ota->boot, 0);

    if (err == YGG_OK) {
        ota->phase = YGG_OTA_INSTALLED;
        /* No bridge requested this. */
        ota->accept_due = ota->request_due = ota->progress_due = ota->result_due = false;
        ygg_ota_log(agent, "ota_rolling_back", YGG_OTA_OK);
        ygg_ota_restart(agent);
    }
    return err;
}

static void revert_trial(struct ygg_agent *agent, enum ygg_boot_outcome outcome)
{
    /* If the record cannot be written, the boot counter ends the trial. */
    (void)ygg_boot_revert(ygg_ota_of(agent)->boot, outcome);
    ygg_ota_log(agent, "ota_reverting", outcome == YGG_REVERT_SELF_TEST ? YGG_OTA_SELF_TEST : YGG_OTA_NOT_CONFIRMED);
    ygg_ota_restart(agent);
}

/* The session has its contract: the bridge is authenticated and has accepted the capabilities of this image. */
static void conclude_trial(struct ygg_agent *agent)
{
    struct ygg_ota *ota = ygg_ota_of(agent);

    if (!ota->self_test(ota->self_test_ctx)) {
        revert_trial(agent, YGG_REVERT_SELF_TEST);
    } else if (ygg_boot_confirm(ota->boot) == YGG_OK) {
        ygg_ota_log(agent, "ota_confirmed", YGG_OTA_OK);
    } else {
        /* Retried in the next session, until the trial times out. */
        ygg_ota_log(agent, "ota_confirm_failed", YGG_OTA_FLASH);
    }
}

/* --- beginning and ending ------------------------------------------------------------------------------------------ */

enum ygg_err ygg_ota_open(struct ygg_agent *agent)
{
    struct ygg_ota *ota = ygg_ota_of(agent);

    if (ota == NULL) {
        return YGG_OK;
    }
    if (ota->trial_ms == 0 || ota->self_test == NULL) {
        return YGG_ERR_ARGUMENT;
    }
    ota->trust = (struct ygg_trust){.layout = ota->boot->layout,
                                    .hash = agent->hal->hash,
                                    .hash_ctx = agent->hal->hash_ctx,
                                    .verify = ota->verify,
                                    .verify_ctx = ota->verify_ctx,
                                    .room = ota->metadata};
    ota->install.boot = ota->boot;
    enum ygg_ota_code code = ygg_trust_open(&ota->trust, ota->first_root, ota->first_root_size);
    ota->usable = code == YGG_OTA_OK;
    if (!ota->usable) {
        ygg_ota_log(agent, "ota_unusable", code); /* The device works, but accepts no updates. */
    }
    return YGG_OK;
}

/* A timestamp is valid for one offer of one session. Without randomness none is accepted. */
static void renew_nonce(struct ygg_agent *agent)
{
    struct ygg_ota *ota = ygg_ota_of(agent);

    ota->timestamped = false;
    ota->has_nonce = agent->hal->platform->random(agent->hal->platform_ctx, ota->nonce, sizeof ota->nonce) == YGG_OK;
}

static void renew_status(struct ygg_agent *agent)
{
    renew_nonce(agent);
    ygg_ota_of(agent)->status_due = true;
}

void ygg_ota_on_contract(struct ygg_agent *agent)
{
    struct ygg_ota *ota = ygg_ota_of(agent);

    if (ota == NULL) {
        return;
    }
    if (ygg_ota_on_trial(ota)) {
        conclude_trial(agent);
    }
    if (agent->ota && ota->usable) {
        renew_status(agent);
    }
}

void ygg_ota_on_disconnect(struct ygg_agent *agent)
{
    struct ygg_ota *ota = ygg_ota_of(agent);

    if (ota == NULL) {
        return;
    }
    if (ota->phase == YGG_OTA_INSTALLED) {
        ota->restart = true; /* The result cannot be sent; the status after the restart reports it. */
        agent->stopping = true;
        return;
    }
    ota->phase = YGG_OTA_IDLE; /* Written blocks and the patch's state stay: an offer resumes them. */
    ota->status_due = ota->accept_due = ota->reject_due = ota->request_due = ota->result_due = ota->progress_due =
        false;
}

static void reject(struct ygg_agent *agent, uint64_t update_id, enum ygg_ota_code code)
{
    struct ygg_ota *ota = ygg_ota_of(agent);

    ota->rejected = code;
    ota->rejected_id = update_id;
    ota->reject_due = true;
    if (ota->phase == YGG_OTA_METADATA) {
        ota->phase = YGG_OTA_IDLE;
    }
    ygg_ota_log(agent, "ota_rejected", code);
    renew_status(agent);
}

void ygg_ota_fail(struct ygg_agent *agent, enum ygg_ota_code code)
{
    struct ygg_ota *ota = ygg_ota_of(agent);

    ota->phase = YGG_OTA_IDLE;
    ota->failed = code;
    ota->result_due = true;
    ota->accept_due = ota->request_due = ota->progress_due = false;
    if (ota->uses_delta) {
        ota->install.open = false; /* The partial output of a patch cannot be resumed. */
    }
    ygg_ota_log(agent, "ota_failed", code);
    renew_status(agent);
}

enum ygg_ota_code ygg_ota_code_of(enum ygg_err err)
{
    return err == YGG_ERR_REFUSED     ? YGG_OTA_SECURITY_COUNTER
           : err == YGG_ERR_MALFORMED ? YGG_OTA_DIGEST
           : err == YGG_ERR_TOO_LONG  ? YGG_OTA_LENGTH
           : err == YGG_ERR_STATE     ? YGG_OTA_BUSY
                                      : YGG_OTA_FLASH;
}

void ygg_ota_installed(struct ygg_agent *agent, enum ygg_err err)
{
    struct ygg_ota *ota = ygg_ota_of(agent);

    if (err != YGG_OK) {
        ygg_ota_fail(agent, ygg_ota_code_of(err));
        return;
    }
    ota->phase = YGG_OTA_INSTALLED;
    ota->failed = YGG_OTA_OK;
    ota->result_due = true;
    ota->progress_due = ota->request_due = false;
    ygg_ota_log(agent, "ota_installed", YGG_OTA_OK);
}

/* --- the offer ------------------------------------------------------------------------------------------------------ */

/* Replaces an earlier offer without a result; its written blocks stay. */
enum ygg_err ygg_ota_on_offer(struct ygg_agent *agent, const yggdrasil_device_v1_OtaOffer *offer)
{
    struct ygg_ota *ota = ygg_ota_of(agent);

    if (!agent->ota || !ota->usable) {
        return YGG_ERR_STATE;
    }
    if (offer->update_id == 0) {
        return YGG_ERR_MALFORMED;
    }
    ota->accept_due = ota->request_due = ota->progress_due = false;
    if (ota->phase == YGG_OTA_INSTALLED ||
        (ota->boot->state != YGG_BOOT_CONFIRMED && ota->boot->running != YGG_SLOT_NONE)) {
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

/* Whether the spare slot already holds the complete image. */
static bool spare_holds_image(const struct ygg_ota *ota, enum ygg_slot spare)
{
    const struct ygg_boot_slot *slot = &ota->boot->slots[spare];

    return slot->state != YGG_SLOT_EMPTY && slot->image.length == ota->image.length &&
           memcmp(slot->image.digest, ota->image.digest, YGG_SHA256_BYTES) == 0 &&
           ygg_boot_holds(ota->boot, spare, &ota->image);
}

/* Makes the image in the spare slot pending: a rollback to a confirmed image, or another trial. */
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
                                    .from_length = ygg_ota_running(ota)->length};
    return ygg_install_begin(&ota->install, &ota->image, ota->chunks_root, ota->update_id, 0, false);
}

static enum ygg_err begin_image(struct ygg_ota *ota, uint32_t found)
{
    ota->total = ota->image.length;
    ota->at = found;
    ota->uses_delta = false;
    return ygg_install_begin(&ota->install, &ota->image, ota->chunks_root, ota->update_id, found, true);
}

static void log_accepted(const struct ygg_agent *agent)
{
    const struct ygg_ota *ota = ygg_ota_of(agent);
    const struct ygg_log_field fields[] = {{.key = "kind", .text = ota->uses_delta ? "patch" : "image"},
                                           {.key = "bytes", .number = ota->total},
                                           {.key = "from", .number = ota->at}};

    ygg_log(agent, YGG_LOG_INFO, "ota_accepted", fields, 3);
}

/* Accepts the verified release. Flash is written from here on. */
static void accept(struct ygg_agent *agent, bool delta)
{
    struct ygg_ota *ota = ygg_ota_of(agent);
    enum ygg_slot spare = ygg_boot_spare(ota->boot);
    uint32_t found = ygg_install_resume_offset(ota->boot, &ota->image, ota->chunks_root);

    renew_nonce(agent); /* A nonce is used once. */
    ota->phase = YGG_OTA_LOADING;
    ota->accept_due = true;
    ota->bad_chunks = 0;
    ota->stray_chunks = 0;
    ota->behind = 0;
    ota->credit = 0;
    ota->window_bytes = 0;
    ota->window_ms = ota->chunk_ms = ygg_now(agent);
    if (spare_holds_image(ota, spare)) {
        ota->uses_delta = false;
        ota->at = ota->total = ota->image.length;
        log_accepted(agent);
        ygg_ota_installed(agent, stage_spare(ota, spare));
        return;
    }
    found = found % ota->chunk_bytes == 0 || found == ota->image.length ? found : 0;
    bool shorter = delta && ota->delta.length < ota->image.length - found;
    enum ygg_err err = shorter ? begin_patch(ota) : begin_image(ota, found);
    ota->reported_bytes = ota->at;
    ota->reported_ms = ygg_now(agent);
    log_accepted(agent);
    if (err != YGG_OK) {
        ygg_ota_fail(agent, ygg_ota_code_of(err));
    } else if (ota->at == ota->total && !ota->uses_delta) {
        ygg_ota_installed(agent, ygg_install_finish(&ota->install));
    } else {
        ota->request_due = true;
        ota->request_again = false;
    }
}

static void on_release(struct ygg_agent *agent, const struct ygg_trust_context *context)
{
    struct ygg_ota *ota = ygg_ota_of(agent);
    const struct ygg_image *running = ygg_ota_running(ota);
    struct ygg_manifest manifest;
    const struct ygg_delta delta = {.precursor = ota->delta.precursor,
                                    .digest = ota->delta.digest,
                                    .chunks_root = ota->delta.chunks_root,
                                    .length = ota->delta.length};
    enum ygg_ota_code code = ygg_trust_release(&ota->trust, ota->metadata, ota->metadata_size, &ota->timestamp, context,
                                               &manifest);

    if (code == YGG_OTA_OK && running != NULL && memcmp(running->digest, manifest.digest, YGG_SHA256_BYTES) == 0) {
        code = YGG_OTA_ALREADY_RUNNING;
    }
    if (code == YGG_OTA_OK && ota->offers_delta) {
        code = running == NULL ? YGG_OTA_PRECURSOR : ygg_trust_patch(&manifest, &delta, running->digest);
    }
    if (code != YGG_OTA_OK) {
        reject(agent, ota->update_id, code);
        return;
    }
    ota->image = (struct ygg_image){
        .length = manifest.length, .counter = manifest.counter, .sequence = manifest.sequence};
    memcpy(ota->image.digest, manifest.digest, YGG_SHA256_BYTES);
    memcpy(ota->chunks_root, manifest.chunks_root, YGG_SHA256_BYTES);
    ota->chunk_bytes = manifest.chunk_bytes;
    accept(agent, ota->offers_delta);
}

/* Verifies a complete envelope. */
static void on_envelope(struct ygg_agent *agent)
{
    struct ygg_ota *ota = ygg_ota_of(agent);
    const struct ygg_image *running = ygg_ota_running(ota);
    const struct ygg_trust_context context = {.device_id = agent->config->device_id,
                                              .device_class = agent->config->device_class,
                                              .nonce = ota->nonce,
                                              .slot_bytes = ota->boot->layout->slot_bytes,
                                              .sequence = running == NULL ? 0 : running->sequence,
                                              .counter_floor = ota->boot->counter_floor};
    enum ygg_ota_code code = YGG_OTA_OK;

    ota->metadata_have = 0;
    if (ota->metadata_role == YGG_ROLE_RELEASE) {
        on_release(agent, &context);
        return;
    }
    if (ota->metadata_role == YGG_ROLE_ROOT) {
        code = ygg_trust_next_root(&ota->trust, ota->metadata, ota->metadata_size);
        ota->roots_due--;
    } else {
        code = ota->has_nonce
                   ? ygg_trust_timestamp(&ota->trust, ota->metadata, ota->metadata_size, &context, &ota->timestamp)
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

/* Whether a slice is the next one. Checks the length first. */
static bool slice_fits(const struct ygg_ota *ota, const yggdrasil_device_v1_OtaMetadata *slice)
{
    uint32_t max = slice->role == yggdrasil_device_v1_OtaRole_OTA_ROLE_RELEASE ? YGG_RELEASE_BYTES_MAX
                                                                               : YGG_ENVELOPE_BYTES_MAX;
    bool first = ota->metadata_have == 0;

    return slice->size_bytes > 0 && slice->size_bytes <= max && slice->data.size > 0 &&
           slice->offset_bytes == ota->metadata_have && (uint32_t)slice->role == expected_role(ota) &&
           (first || slice->size_bytes == ota->metadata_size) &&
           slice->data.size <= slice->size_bytes - slice->offset_bytes;
}

enum ygg_err ygg_ota_on_metadata(struct ygg_agent *agent, const yggdrasil_device_v1_OtaMetadata *slice)
{
    struct ygg_ota *ota = ygg_ota_of(agent);

    if (!agent->ota) {
        return YGG_ERR_STATE;
    }
    if (ota->phase != YGG_OTA_METADATA || slice->update_id != ota->update_id) {
        return YGG_OK; /* Of an offer that was rejected meanwhile. */
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

enum ygg_err ygg_ota_on_abort(struct ygg_agent *agent, const yggdrasil_device_v1_OtaAbort *abort_frame)
{
    struct ygg_ota *ota = ygg_ota_of(agent);

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
    if (ota->phase == YGG_OTA_INSTALLED && ygg_boot_revert(ota->boot, YGG_REVERT_REQUESTED) != YGG_OK) {
        return YGG_OK; /* Flash failed: the image boots on trial, and the boot counter ends it. */
    }
    ygg_ota_fail(agent, YGG_OTA_ABORTED);
    return YGG_OK;
}

/* --- time ----------------------------------------------------------------------------------------------------------- */

static uint64_t trial_deadline_ms(const struct ygg_agent *agent)
{
    const struct ygg_ota *ota = ygg_ota_of(agent);

    return ota != NULL && ygg_ota_on_trial(ota) && !ota->restart ? agent->boot_ms + ota->trial_ms : UINT64_MAX;
}

static uint64_t download_deadline_ms(const struct ygg_agent *agent)
{
    const struct ygg_ota *ota = ygg_ota_of(agent);
    bool waits = ota != NULL && (ota->phase == YGG_OTA_METADATA || ota->phase == YGG_OTA_LOADING);
    uint64_t idle = waits ? ota->chunk_ms + IDLE_TIMEOUT_MS : UINT64_MAX;

    return waits && ota->window_ms + RATE_WINDOW_MS < idle ? ota->window_ms + RATE_WINDOW_MS : idle;
}

uint64_t ygg_ota_wake_ms(const struct ygg_agent *agent)
{
    uint64_t trial = trial_deadline_ms(agent);
    uint64_t download = download_deadline_ms(agent);

    return trial < download ? trial : download;
}

void ygg_ota_expire(struct ygg_agent *agent)
{
    struct ygg_ota *ota = ygg_ota_of(agent);
    uint64_t now = ygg_now(agent);

    if (now >= trial_deadline_ms(agent)) {
        revert_trial(agent, YGG_REVERT_TIMEOUT);
    } else if (now >= download_deadline_ms(agent)) {
        bool idle = now >= ota->chunk_ms + IDLE_TIMEOUT_MS;

        if (ota->phase == YGG_OTA_METADATA) {
            reject(agent, ota->update_id, YGG_OTA_TIMEOUT);
        } else if (idle || ota->window_bytes < RATE_WINDOW_BYTES_MIN) {
            ygg_ota_fail(agent, YGG_OTA_TIMEOUT);
        }
        ota->window_ms = now;
        ota->window_bytes = 0;
        agent->busy = true;
    }
}

bool ygg_agent_wants_restart(const struct ygg_agent *agent)
{
    return agent->config->ota != NULL && agent->config->ota->restart && agent->state == YGG_STATE_STOPPED;
}
