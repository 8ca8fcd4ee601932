/* Calls: executed once by the driver, answered on every request.
 *
 *     Invoke --- answer remembered -------------------------------> Result again
 *       |------- in progress -------------------------------------> (its Result will follow)
 *       |------- rejected by the tables, or no room --------------> Result, not remembered: nothing was done
 *       `------- driver --- answers -------------> memory --------> Result
 *                  `------- answers later -> pending --- complete -> memory -> Result
 *                                              |------- complete, more -> Result{more}, not remembered
 *                                              `------- deadline --> memory -> Result{DEADLINE}
 *
 * A remembered answer consists of one byte of flags and the bytes of Result, which begin with the call id. */
#include <string.h>

#include "core/internal.h"
#include "core/link.h"
#include "core/records.h"

enum { FLAG_UNSENT = 1 };

/* Tag and length byte of Result.call_id. */
enum { CALL_ID_HEADER_BYTES = 2 };

static bool record_is_for(const struct ygg_record *record, const char *call_id)
{
    size_t length = strlen(call_id);

    return record->length > 1 + CALL_ID_HEADER_BYTES + length && record->data[2] == length &&
           memcmp(record->data + 1 + CALL_ID_HEADER_BYTES, call_id, length) == 0;
}

static bool find_answer(const struct ygg_agent *agent, const char *call_id, struct ygg_record *record)
{
    *record = (struct ygg_record){0};
    while (ygg_records_next(&agent->answers, record)) {
        if (record_is_for(record, call_id)) {
            return true;
        }
    }
    return false;
}

static enum ygg_err send_record(struct ygg_agent *agent, struct ygg_record *record)
{
    pb_ostream_t out;
    enum ygg_err err = ygg_link_open(agent, YGG_BODY_RESULT, record->length - 1, &out);

    if (err != YGG_OK) {
        return err;
    }
    if (!pb_write(&out, record->data + 1, record->length - 1)) {
        return YGG_ERR_ARGUMENT;
    }
    return ygg_link_commit(agent, &out);
}

static enum ygg_err send_answer(struct ygg_agent *agent, const char *call_id, const struct ygg_answer *answer)
{
    pb_ostream_t size = PB_OSTREAM_SIZING;
    pb_ostream_t out;

    if (!ygg_result_encode(&size, call_id, answer)) {
        return YGG_ERR_ARGUMENT;
    }
    enum ygg_err err = ygg_link_open(agent, YGG_BODY_RESULT, size.bytes_written, &out);
    if (err != YGG_OK) {
        return err;
    }
    return ygg_result_encode(&out, call_id, answer) ? ygg_link_commit(agent, &out) : YGG_ERR_ARGUMENT;
}

static enum ygg_err send_refusal(struct ygg_agent *agent, const char *call_id, enum ygg_status status,
                                 const char *reason)
{
    const struct ygg_answer answer = {.status = status, .message = reason};

    return send_answer(agent, call_id, &answer);
}

/* Makes room for a record by removing the oldest answers. Returns false if the oldest one has not been sent. */
static bool make_room(struct ygg_agent *agent, size_t length)
{
    while (!ygg_records_fit(&agent->answers, length)) {
        struct ygg_record oldest = {0};

        if (!ygg_records_next(&agent->answers, &oldest) || (oldest.data[0] & FLAG_UNSENT) != 0) {
            return false;
        }
        ygg_records_pop(&agent->answers);
    }
    return true;
}

/* Size of the Result; 0 if it is too large to keep or to send. */
static size_t result_size(const struct ygg_agent *agent, const char *call_id, const struct ygg_answer *answer)
{
    pb_ostream_t size = PB_OSTREAM_SIZING;

    if (answer->count > YGG_ARGUMENTS_MAX || !ygg_result_encode(&size, call_id, answer)) {
        return 0;
    }
    bool sendable = ygg_envelope_size(YGG_BODY_RESULT, size.bytes_written) <= agent->link.tx_limit &&
                    size.bytes_written < YGG_REPLY_BYTES;
    return sendable && ygg_records_could_fit(&agent->answers, size.bytes_written + 1) ? size.bytes_written : 0;
}

static enum ygg_err remember(struct ygg_agent *agent, const char *call_id, const struct ygg_answer *answer,
                             uint8_t flags)
{
    const struct ygg_answer too_large = {.status = YGG_STATUS_HARDWARE, .message = "the result is too large"};
    size_t length = result_size(agent, call_id, answer);

    if (length == 0) {
        answer = &too_large;
        length = result_size(agent, call_id, answer);
    }
    if (!make_room(agent, length + 1)) {
        return YGG_ERR_FULL;
    }
    uint8_t *record = ygg_records_append(&agent->answers, length + 1);
    if (record == NULL) {
        return YGG_ERR_FULL;
    }
    record[0] = flags;
    pb_ostream_t out = pb_ostream_from_buffer(record + 1, length);
    return ygg_result_encode(&out, call_id, answer) ? YGG_OK : YGG_ERR_ARGUMENT;
}

static struct ygg_pending *find_pending(struct ygg_agent *agent, const char *call_id)
{
    for (size_t i = 0; i < YGG_CALLS_MAX; i++) {
        if (agent->pending[i].handle != 0 && agent->pending[i].kind == YGG_PENDING_CALL &&
            strcmp(agent->pending[i].key.call_id, call_id) == 0) {
            return &agent->pending[i];
        }
    }
    return NULL;
}

static struct ygg_pending *find_handle(struct ygg_agent *agent, uint32_t handle)
{
    for (size_t i = 0; i < YGG_CALLS_MAX; i++) {
        if (agent->pending[i].handle == handle) {
            return &agent->pending[i];
        }
    }
    return NULL;
}

static bool is_streamed(const struct ygg_agent *agent, const struct ygg_call *call)
{
    return call->operation == YGG_OPERATION_ACTION &&
           agent->document->capabilities[call->capability].actions[call->member].streamed;
}

static uint32_t take_handle(struct ygg_agent *agent)
{
    agent->next_handle = agent->next_handle == UINT32_MAX ? 1 : agent->next_handle + 1;
    return agent->next_handle;
}

/* Reserves the slot first, so that a later answer always has one. */
enum ygg_err ygg_calls_dispatch(struct ygg_agent *agent, struct ygg_call *call, struct ygg_answer *answer,
                                struct ygg_pending **slot)
{
    *answer = (struct ygg_answer){.status = YGG_STATUS_OK};
    *slot = find_handle(agent, 0);
    if (*slot == NULL) {
        return YGG_ERR_FULL;
    }
    call->handle = take_handle(agent);
    enum ygg_err err = agent->hal->driver->call(agent->hal->driver_ctx, call, answer);
    if (err == YGG_ERR_AGAIN) {
        **slot = (struct ygg_pending){
            .handle = call->handle,
            .session = agent->sessions,
            .streamed = is_streamed(agent, call),
            .capability = call->operation == YGG_OPERATION_READ ? YGG_CAPABILITIES_MAX : call->capability,
            .deadline_ms = ygg_now(agent) + call->deadline_ms,
        };
        return YGG_ERR_AGAIN;
    }
    if (err != YGG_OK || answer->more) {
        *answer = (struct ygg_answer){.status = YGG_STATUS_HARDWARE, .message = "the driver failed"};
    }
    return YGG_OK;
}

static enum ygg_err run(struct ygg_agent *agent, const char *call_id, struct ygg_call *call)
{
    struct ygg_pending *slot = NULL;
    struct ygg_answer answer;
    enum ygg_err err = ygg_calls_dispatch(agent, call, &answer, &slot);

    if (err == YGG_ERR_FULL) {
        return send_refusal(agent, call_id, YGG_STATUS_BUSY, "too many calls in flight");
    }
    agent->calls_done++;
    if (err == YGG_ERR_AGAIN) {
        memcpy(slot->key.call_id, call_id, strlen(call_id) + 1);
        return YGG_OK;
    }
    if (answer.status == YGG_STATUS_BUSY) {
        return send_refusal(agent, call_id, YGG_STATUS_BUSY, answer.message);
    }
    if (call->operation != YGG_OPERATION_READ) {
        ygg_twin_mark(agent, call->capability);
    }
    err = remember(agent, call_id, &answer, FLAG_UNSENT);
    if (err == YGG_OK) {
        (void)ygg_calls_produce(agent); /* What does not fit now is sent by the next step. */
    }
    return err;
}

static enum ygg_err resend_answer(struct ygg_agent *agent, struct ygg_record *record)
{
    agent->calls_repeated++;
    record->data[0] |= FLAG_UNSENT;
    (void)ygg_calls_produce(agent); /* As in run(). */
    return YGG_OK;
}

enum ygg_err ygg_calls_handle(struct ygg_agent *agent, const yggdrasil_device_v1_Invoke *invoke)
{
    struct ygg_record record;
    struct ygg_call call;
    const char *reason = NULL;

    if (invoke->call_id[0] == '\0') {
        return YGG_ERR_MALFORMED;
    }
    if (find_answer(agent, invoke->call_id, &record)) {
        return resend_answer(agent, &record);
    }
    struct ygg_pending *pending = find_pending(agent, invoke->call_id);
    if (pending != NULL) {
        pending->session = agent->sessions;
        return YGG_OK;
    }
    enum ygg_status status = ygg_call_check(agent->document, invoke, &call, &reason);
    if (status != YGG_STATUS_OK) {
        return send_refusal(agent, invoke->call_id, status, reason);
    }
    return run(agent, invoke->call_id, &call);
}

/* Remembers the final answer. It is sent only if the current session requested it. */
static enum ygg_err finish(struct ygg_agent *agent, struct ygg_pending *pending, const struct ygg_answer *answer)
{
    if (pending->kind != YGG_PENDING_CALL) {
        return ygg_twin_finish(agent, pending, answer);
    }
    bool requested = pending->session == agent->sessions;
    enum ygg_err err = remember(agent, pending->key.call_id, answer, requested ? FLAG_UNSENT : 0);

    if (err == YGG_OK) {
        ygg_twin_mark(agent, pending->capability);
        *pending = (struct ygg_pending){0};
    }
    return err;
}

/* Sends an intermediate answer. It is never repeated; a repeated request gets the final one. */
static enum ygg_err send_more(struct ygg_agent *agent, const struct ygg_pending *pending,
                              const struct ygg_answer *answer)
{
    if (!pending->streamed || answer->status != YGG_STATUS_OK ||
        result_size(agent, pending->key.call_id, answer) == 0) {
        return YGG_ERR_ARGUMENT;
    }
    bool served = agent->state == YGG_STATE_ACTIVE || agent->state == YGG_STATE_UPDATING;
    if (!served || pending->session != agent->sessions) {
        return YGG_OK;
    }
    return send_answer(agent, pending->key.call_id, answer);
}

enum ygg_err ygg_agent_complete(struct ygg_agent *agent, uint32_t handle, const struct ygg_answer *answer)
{
    struct ygg_pending *pending = handle == 0 ? NULL : find_handle(agent, handle);

    if (pending == NULL) {
        return YGG_ERR_NOT_FOUND;
    }
    agent->busy = true;
    return answer->more ? send_more(agent, pending, answer) : finish(agent, pending, answer);
}

void ygg_calls_expire(struct ygg_agent *agent)
{
    const struct ygg_answer late = {.status = YGG_STATUS_DEADLINE, .message = "the deadline passed"};
    uint64_t now = ygg_now(agent);

    for (size_t i = 0; i < YGG_CALLS_MAX; i++) {
        struct ygg_pending *pending = &agent->pending[i];

        if (pending->handle != 0 && pending->deadline_ms <= now) {
            (void)finish(agent, pending, &late); /* Without room, the next step retries. */
        }
    }
}

/* Ignores deadlines that have passed: those wait for room, not for time. */
uint64_t ygg_calls_wake_ms(const struct ygg_agent *agent)
{
    uint64_t now = ygg_now(agent);
    uint64_t wake = UINT64_MAX;

    for (size_t i = 0; i < YGG_CALLS_MAX; i++) {
        const struct ygg_pending *pending = &agent->pending[i];

        if (pending->handle != 0 && pending->deadline_ms > now && pending->deadline_ms < wake) {
            wake = pending->deadline_ms;
        }
    }
    return wake;
}

bool ygg_calls_produce(struct ygg_agent *agent)
{
    struct ygg_record record = {0};
    bool produced = false;

    while (ygg_records_next(&agent->answers, &record)) {
        if ((record.data[0] & FLAG_UNSENT) == 0) {
            continue;
        }
        enum ygg_err err = send_record(agent, &record);
        if (err == YGG_ERR_FULL) {
            break;
        }
        /* On YGG_ERR_TOO_LONG, from a session with a smaller limit: not sent, still remembered. */
        record.data[0] &= (uint8_t)~FLAG_UNSENT;
        produced = produced || err == YGG_OK;
    }
    return produced;
}

void ygg_calls_discard_unsent(struct ygg_agent *agent)
{
    struct ygg_record record = {0};

    while (ygg_records_next(&agent->answers, &record)) {
        record.data[0] &= (uint8_t)~FLAG_UNSENT;
    }
}
