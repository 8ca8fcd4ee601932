/* Outgoing frames of updates: status, replies, progress and results, with human-readable messages. */
#include <string.h>

#include "core/ota.h"

_Static_assert((int)YGG_OTA_NOT_CONFIRMED == (int)yggdrasil_device_v1_OtaCode_OTA_CODE_NOT_CONFIRMED, "codes agree");

static const char *const words[] = {
    [YGG_OTA_OK] = "",
    [YGG_OTA_MALFORMED] = "metadata is malformed or out of order",
    [YGG_OTA_ROOT] = "the root does not follow the stored one",
    [YGG_OTA_SIGNATURE] = "too few valid signatures",
    [YGG_OTA_EXPIRED] = "root or release has expired",
    [YGG_OTA_STALE] = "the timestamp is not for this session",
    [YGG_OTA_MIX_AND_MATCH] = "the timestamp names another release",
    [YGG_OTA_DEVICE_CLASS] = "the release is for another device class",
    [YGG_OTA_SLOT_SIZE] = "the release is for another slot size",
    [YGG_OTA_SECURITY_COUNTER] = "the security counter is below the device's",
    [YGG_OTA_SEQUENCE] = "the release is not the newest, nor allowed to be older",
    [YGG_OTA_PRECURSOR] = "the patch is for another image, or not the signed one",
    [YGG_OTA_PATCH] = "the patch cannot be applied",
    [YGG_OTA_LENGTH] = "data outside the announced or requested range",
    [YGG_OTA_CHUNK] = "a chunk is not part of the release",
    [YGG_OTA_DIGEST] = "read back, the image has another digest",
    [YGG_OTA_BUSY] = "another update is pending",
    [YGG_OTA_FLASH] = "flash failed",
    [YGG_OTA_ABORTED] = "aborted",
    [YGG_OTA_TIMEOUT] = "the transfer is too slow",
    [YGG_OTA_ALREADY_RUNNING] = "the image is already running",
    [YGG_OTA_SELF_TEST] = "the self-test failed",
    [YGG_OTA_NOT_CONFIRMED] = "the image was not confirmed in time",
};

const char *ygg_ota_message(enum ygg_ota_code code)
{
    return words[code];
}

void ygg_ota_log(const struct ygg_agent *agent, const char *event, enum ygg_ota_code code)
{
    const struct ygg_log_field fields[] = {{.key = "code", .number = code},
                                           {.key = "message", .text = ygg_ota_message(code)}};

    ygg_log(agent, code == YGG_OTA_OK ? YGG_LOG_INFO : YGG_LOG_WARNING, event, fields, code == YGG_OTA_OK ? 0 : 2);
}

static yggdrasil_device_v1_OtaState state_of(const struct ygg_ota *ota)
{
    const struct ygg_boot *boot = ota->boot;
    bool partial = boot->update_id != 0 && boot->outcome == YGG_OUTCOME_NONE &&
                   boot->slots[ygg_boot_spare(boot)].state == YGG_SLOT_EMPTY;

    if (boot->running == YGG_SLOT_NONE) {
        return yggdrasil_device_v1_OtaState_OTA_STATE_SAFE_MODE;
    }
    if (ygg_ota_on_trial(ota)) {
        return yggdrasil_device_v1_OtaState_OTA_STATE_TRIAL;
    }
    if (boot->state != YGG_BOOT_CONFIRMED) {
        return yggdrasil_device_v1_OtaState_OTA_STATE_INSTALLED;
    }
    return partial ? yggdrasil_device_v1_OtaState_OTA_STATE_PARTIAL : yggdrasil_device_v1_OtaState_OTA_STATE_IDLE;
}

/* Reports the outcome of the last update from the boot state or, if it never booted, from the memory of this boot. */
static void fill_outcome(const struct ygg_ota *ota, yggdrasil_device_v1_OtaStatus *status)
{
    static const struct {
        uint8_t outcome;
        uint8_t code;
    } table[] = {
        [YGG_OUTCOME_NONE] = {yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_PENDING, YGG_OTA_OK},
        [YGG_OUTCOME_CONFIRMED] = {yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_CONFIRMED, YGG_OTA_OK},
        [YGG_REVERT_REQUESTED] = {yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_FAILED, YGG_OTA_ABORTED},
        [YGG_REVERT_OUT_OF_BOOTS] = {yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_REVERTED, YGG_OTA_NOT_CONFIRMED},
        [YGG_REVERT_DAMAGED] = {yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_REVERTED, YGG_OTA_DIGEST},
        [YGG_REVERT_TIMEOUT] = {yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_REVERTED, YGG_OTA_NOT_CONFIRMED},
        [YGG_REVERT_SELF_TEST] = {yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_REVERTED, YGG_OTA_SELF_TEST},
        [YGG_REVERT_SUPERSEDED] = {yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_REVERTED, YGG_OTA_ABORTED},
    };
    const struct ygg_boot *boot = ota->boot;

    if (boot->update_id == 0) {
        return;
    }
    size_t row = (size_t)boot->outcome < sizeof table / sizeof table[0] ? (size_t)boot->outcome : 0;
    bool failed = boot->outcome == YGG_OUTCOME_NONE && ota->failed != YGG_OTA_OK && ota->phase == YGG_OTA_IDLE;
    status->update_id = boot->update_id;
    status->outcome = failed ? yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_FAILED
                             : (yggdrasil_device_v1_OtaOutcome)table[row].outcome;
    status->code = (yggdrasil_device_v1_OtaCode)(failed ? (uint8_t)ota->failed : table[row].code);
}

static enum ygg_err send_status(struct ygg_agent *agent)
{
    const struct ygg_ota *ota = ygg_ota_of(agent);
    const struct ygg_boot *boot = ota->boot;
    const struct ygg_image *running = ygg_ota_running(ota);
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
    if (spare->state != YGG_SLOT_EMPTY && spare->image.counter >= boot->counter_floor && !ygg_ota_on_trial(ota)) {
        status->other_slot_sha256.size = YGG_SHA256_BYTES;
        memcpy(status->other_slot_sha256.bytes, spare->image.digest, YGG_SHA256_BYTES);
    }
    fill_outcome(ota, status);
    status->patch_formats = YGG_PATCH_FORMATS;
    status->newest_sequence = ota->trust.newest_sequence;
    return ygg_session_send(agent, YGG_BODY_OTA_STATUS, body);
}

static void copy_message(char *out, size_t size, enum ygg_ota_code code)
{
    size_t length = strlen(ygg_ota_message(code));

    length = length < size ? length : size - 1;
    memcpy(out, ygg_ota_message(code), length);
    out[length] = '\0';
}

static enum ygg_err send_reject(struct ygg_agent *agent)
{
    const struct ygg_ota *ota = ygg_ota_of(agent);
    union ygg_body *body = ygg_scratch_body(agent);

    memset(&body->ota_reject, 0, sizeof body->ota_reject);
    body->ota_reject.update_id = ota->rejected_id;
    body->ota_reject.code = (yggdrasil_device_v1_OtaCode)ota->rejected;
    copy_message(body->ota_reject.message, sizeof body->ota_reject.message, ota->rejected);
    return ygg_session_send(agent, YGG_BODY_OTA_REJECT, body);
}

static enum ygg_err send_accept(struct ygg_agent *agent)
{
    const struct ygg_ota *ota = ygg_ota_of(agent);
    union ygg_body *body = ygg_scratch_body(agent);

    body->ota_accept = (yggdrasil_device_v1_OtaAccept){
        .update_id = ota->update_id, .delta = ota->uses_delta, .offset_bytes = ota->at};
    return ygg_session_send(agent, YGG_BODY_OTA_ACCEPT, body);
}

static enum ygg_err send_request(struct ygg_agent *agent)
{
    struct ygg_ota *ota = ygg_ota_of(agent);
    union ygg_body *body = ygg_scratch_body(agent);

    body->ota_chunk_request = (yggdrasil_device_v1_OtaChunkRequest){.update_id = ota->update_id,
                                                                    .offset_bytes = ota->at,
                                                                    .chunks = YGG_OTA_CREDIT_CHUNKS,
                                                                    .resend = ota->request_again};
    enum ygg_err err = ygg_session_send(agent, YGG_BODY_OTA_CHUNK_REQUEST, body);
    if (err == YGG_OK) {
        ota->credit = YGG_OTA_CREDIT_CHUNKS;
        ota->request_again = false;
    }
    return err;
}

static enum ygg_err send_progress(struct ygg_agent *agent)
{
    struct ygg_ota *ota = ygg_ota_of(agent);
    union ygg_body *body = ygg_scratch_body(agent);

    body->ota_progress = (yggdrasil_device_v1_OtaProgress){.update_id = ota->update_id,
                                                           .written_bytes = ota->install.written};
    enum ygg_err err = ygg_session_send(agent, YGG_BODY_OTA_PROGRESS, body);
    if (err == YGG_OK) {
        ota->reported_bytes = ota->at;
        ota->reported_ms = ygg_now(agent);
    }
    return err;
}

static enum ygg_err send_result(struct ygg_agent *agent)
{
    const struct ygg_ota *ota = ygg_ota_of(agent);
    union ygg_body *body = ygg_scratch_body(agent);
    bool good = ota->phase == YGG_OTA_INSTALLED;

    memset(&body->ota_result, 0, sizeof body->ota_result);
    body->ota_result.update_id = ota->update_id;
    body->ota_result.outcome = good ? yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_PENDING
                                    : yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_FAILED;
    body->ota_result.code = (yggdrasil_device_v1_OtaCode)(good ? YGG_OTA_OK : ota->failed);
    copy_message(body->ota_result.message, sizeof body->ota_result.message, good ? YGG_OTA_OK : ota->failed);
    return ygg_session_send(agent, YGG_BODY_OTA_RESULT, body);
}

/* Sends a frame if it is due and fits. Returns whether it was sent. */
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
    struct ygg_ota *ota = ygg_ota_of(agent);
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
        ygg_ota_restart(agent);
        sent = true;
    }
    return sent;
}
