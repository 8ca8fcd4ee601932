/* The twin: reports properties to the bridge, and writes desired values.
 *
 *     ContractNotice -------------------> all capabilities are due -> TwinReport …, the last one complete
 *     a call that wrote or acted, changed() -> that capability is due --> TwinReport, at most one per REPORT_INTERVAL_MS
 *     TwinDelta -> each entry: checked, written -- done -----> one TwinReport{version} for all of those
 *                                               `- later --> TwinReport{version} after the driver's answer or timeout
 *
 * Only properties that are both readable and writable are reported. Values are not cached: a report reads them from the
 * driver, and only the due capabilities and the position of the report are kept. A value that the driver returns later
 * is sent in a report of its own, and the report continues after it. Frames are encoded in the scratch, because their
 * length comes first. */
#include <string.h>

#include "core/internal.h"
#include "wire/encode.h"

/* Timeout of the driver, and the minimum interval of unsolicited reports. */
enum { DRIVER_TIMEOUT_MS = 5000, REPORT_INTERVAL_MS = 100 };

/* Upper bounds: tag and length of a frame; a state without its value; `complete`. */
enum { HEAD_BYTES = 4, STATE_HEAD_BYTES = 16, COMPLETE_BYTES = 2 };

/* Outcome of an entry. The indexes are the peer's. */
struct outcome {
    uint32_t capability;
    uint32_t property;
    enum ygg_status status;
};

/* --- frames ------------------------------------------------------------------------------------------------------- */

static pb_ostream_t open_report(const struct ygg_agent *agent, uint64_t version)
{
    size_t max = agent->link.tx_limit < YGG_REPLY_BYTES ? agent->link.tx_limit : YGG_REPLY_BYTES;
    pb_ostream_t out = pb_ostream_from_buffer(agent->config->scratch->room.bytes, max - YGG_PREFIX_BYTES - HEAD_BYTES);

    /* At most twelve bytes, which fit any frame. */
    (void)ygg_put_uint(&out, yggdrasil_device_v1_TwinReport_version_tag, version);
    return out;
}

/* Appends a state and leaves `spare` bytes free. Returns false if it does not fit. */
static bool put_state(pb_ostream_t *out, const struct outcome *outcome, const struct ygg_value *value, size_t spare)
{
    pb_ostream_t size = PB_OSTREAM_SIZING;
    const struct ygg_value *known = value->type == YGG_TYPE_NONE ? NULL : value;

    return ygg_twin_encode_state(&size, outcome->capability, outcome->property, known, outcome->status) &&
           out->bytes_written + size.bytes_written + spare <= out->max_size &&
           ygg_twin_encode_state(out, outcome->capability, outcome->property, known, outcome->status);
}

static bool send_report(struct ygg_agent *agent, pb_ostream_t *made, bool complete)
{
    pb_ostream_t out;

    return ygg_put_flag(made, yggdrasil_device_v1_TwinReport_complete_tag, complete) &&
           ygg_link_open(agent, YGG_BODY_TWIN_REPORT, made->bytes_written, &out) == YGG_OK &&
           pb_write(&out, agent->config->scratch->room.bytes, made->bytes_written) &&
           ygg_link_commit(agent, &out) == YGG_OK;
}

/* --- the driver --------------------------------------------------------------------------------------------------- */

static const struct ygg_property *property_at(const struct ygg_agent *agent, uint8_t capability, uint8_t property)
{
    return &agent->document->capabilities[capability].properties[property];
}

/* Returns the value that the driver read; none if it failed or if the value violates the tables. */
static struct ygg_value value_of(const struct ygg_property *property, const struct ygg_answer *answer)
{
    struct ygg_value value = {.type = YGG_TYPE_NONE};
    const char *reason = NULL;

    if (answer->status != YGG_STATUS_OK || answer->count != 1) {
        return value;
    }
    value = answer->values[0];
    if (ygg_value_check(&property->schema, &value, &reason) != YGG_STATUS_OK) {
        value.type = YGG_TYPE_NONE;
    }
    return value;
}

/* Reads a property. YGG_ERR_AGAIN: the value is sent later. YGG_ERR_FULL: not now. */
static enum ygg_err read_property(struct ygg_agent *agent, uint8_t capability, uint8_t property,
                                  struct ygg_value *value)
{
    struct ygg_call call = {.deadline_ms = DRIVER_TIMEOUT_MS,
                            .operation = YGG_OPERATION_READ,
                            .capability = capability,
                            .member = property};
    struct ygg_pending *slot = NULL;
    struct ygg_answer answer;
    enum ygg_err err = ygg_calls_dispatch(agent, &call, &answer, &slot);

    value->type = YGG_TYPE_NONE;
    if (err == YGG_ERR_AGAIN) {
        slot->kind = YGG_PENDING_TWIN_READ;
        slot->capability = capability;
        slot->property = property;
    } else if (err == YGG_OK) {
        *value = value_of(property_at(agent, capability, property), &answer);
    }
    return err;
}

/* Reads the property of an entry back, if readable. If that is not possible now, its capability becomes due. */
static struct ygg_value read_back(struct ygg_agent *agent, const struct outcome *outcome)
{
    struct ygg_value value = {.type = YGG_TYPE_NONE};

    if (outcome->status != YGG_STATUS_NOT_FOUND &&
        property_at(agent, (uint8_t)outcome->capability, (uint8_t)outcome->property)->readable &&
        read_property(agent, (uint8_t)outcome->capability, (uint8_t)outcome->property, &value) == YGG_ERR_FULL) {
        ygg_twin_mark(agent, (uint8_t)outcome->capability);
    }
    return value;
}

/* --- due reports -------------------------------------------------------------------------------------------------- */

static bool is_reported(const struct ygg_property *property)
{
    return property->readable && property->writable;
}

void ygg_twin_mark(struct ygg_agent *agent, uint8_t capability)
{
    if (!agent->twin || capability >= agent->document->count) {
        return;
    }
    const struct ygg_capability *declared = &agent->document->capabilities[capability];
    uint32_t bit = UINT32_C(1) << capability;
    for (uint8_t i = 0; i < declared->properties_count; i++) {
        if (is_reported(&declared->properties[i])) {
            /* If it is the first one, its report may be half done: restart it. */
            agent->twin_next = (agent->twin_due & (bit - 1U)) == 0 ? 0 : agent->twin_next;
            agent->twin_due |= bit;
            return;
        }
    }
}

enum ygg_err ygg_agent_changed(struct ygg_agent *agent, uint8_t capability)
{
    if (capability >= ygg_newest_document(agent)->count) {
        return YGG_ERR_ARGUMENT;
    }
    if (agent->next_document == NULL) { /* Otherwise the new contract reports everything. */
        ygg_twin_mark(agent, capability);
        agent->busy = true;
    }
    return YGG_OK;
}

void ygg_twin_on_contract(struct ygg_agent *agent)
{
    if (agent->twin) {
        agent->twin_due = UINT32_MAX >> (YGG_CAPABILITIES_MAX - agent->document->count);
        agent->twin_next = 0;
        agent->twin_full = true;
    }
}

/* Finds the next property to report: twin_next of `capability`. */
static bool find_due(struct ygg_agent *agent, uint8_t *capability)
{
    *capability = 0;
    while (agent->twin_due != 0) {
        while ((agent->twin_due >> *capability & 1U) == 0) {
            (*capability)++;
        }
        for (; agent->twin_next < agent->document->capabilities[*capability].properties_count; agent->twin_next++) {
            if (is_reported(property_at(agent, *capability, agent->twin_next))) {
                return true;
            }
        }
        agent->twin_due &= ~(UINT32_C(1) << *capability);
        agent->twin_next = 0;
    }
    return false;
}

static bool is_due(const struct ygg_agent *agent)
{
    return agent->twin_full || (agent->twin_due != 0 && ygg_now(agent) >= agent->twin_ms);
}

/* Whether a value of the report is pending. */
static bool awaits_read(const struct ygg_agent *agent)
{
    for (size_t i = 0; i < YGG_CALLS_MAX; i++) {
        const struct ygg_pending *pending = &agent->pending[i];

        if (pending->handle != 0 && pending->kind == YGG_PENDING_TWIN_READ && pending->session == agent->sessions) {
            return true;
        }
    }
    return false;
}

/* Sends one frame of due properties. Returns false if there is nothing to send now. */
static bool send_due(struct ygg_agent *agent)
{
    pb_ostream_t out = open_report(agent, 0);
    struct outcome outcome = {.status = YGG_STATUS_OK};
    enum ygg_err err = YGG_OK;
    uint8_t capability = 0;
    size_t count = 0;

    for (; count < YGG_TWIN_MAX && find_due(agent, &capability); count++) {
        struct ygg_value value;

        err = read_property(agent, capability, agent->twin_next, &value);
        outcome.capability = capability;
        outcome.property = agent->twin_next;
        if (err != YGG_OK || !put_state(&out, &outcome, &value, COMPLETE_BYTES)) {
            break; /* If it does not fit, the next frame reads it again. */
        }
        agent->twin_next++;
    }
    if (err == YGG_ERR_AGAIN) {
        agent->twin_next++; /* Its value is sent separately. */
    }
    bool all = err == YGG_OK && !find_due(agent, &capability);
    bool complete = all && agent->twin_full;
    if ((count == 0 && !complete) || !send_report(agent, &out, complete)) {
        return false;
    }
    if (all) {
        agent->twin_full = false;
        agent->twin_ms = ygg_now(agent) + REPORT_INTERVAL_MS;
    }
    return true;
}

bool ygg_twin_produce(struct ygg_agent *agent)
{
    bool produced = false;

    while (agent->twin && is_due(agent) && !awaits_read(agent) && ygg_has_room(agent) && send_due(agent)) {
        produced = true;
    }
    return produced;
}

/* Due capabilities wait for room or for the driver, not for time. */
uint64_t ygg_twin_wake_ms(const struct ygg_agent *agent)
{
    return agent->twin && agent->twin_due != 0 && agent->twin_ms > ygg_now(agent) ? agent->twin_ms : UINT64_MAX;
}

/* --- desired values ----------------------------------------------------------------------------------------------- */

/* Writes an entry. Returns its status; 0: the driver answers later. */
static enum ygg_status write_entry(struct ygg_agent *agent, uint64_t version,
                                   const yggdrasil_device_v1_TwinEntry *entry)
{
    struct ygg_pending *slot = NULL;
    struct ygg_answer answer;
    struct ygg_call call;
    enum ygg_status status = ygg_write_check(agent->document, entry->capability, entry->property,
                                             entry->has_value ? &entry->value : NULL, &call);

    if (status != YGG_STATUS_OK) {
        return status;
    }
    call.deadline_ms = DRIVER_TIMEOUT_MS;
    enum ygg_err err = ygg_calls_dispatch(agent, &call, &answer, &slot);
    if (err == YGG_ERR_AGAIN) {
        slot->kind = YGG_PENDING_TWIN_WRITE;
        slot->property = call.member;
        slot->key.version = version;
        return 0;
    }
    return err == YGG_OK ? answer.status : YGG_STATUS_BUSY;
}

/* Reports all entries in one frame, which has room. A value that does not fit is omitted and becomes due. */
static void answer_entries(struct ygg_agent *agent, uint64_t version, const struct outcome *outcomes, size_t count)
{
    pb_ostream_t out = open_report(agent, version);

    for (size_t i = 0; i < count; i++) {
        struct ygg_value value = read_back(agent, &outcomes[i]);

        if (!put_state(&out, &outcomes[i], &value, (count - i - 1) * STATE_HEAD_BYTES)) {
            value.type = YGG_TYPE_NONE;
            (void)put_state(&out, &outcomes[i], &value, 0);
            ygg_twin_mark(agent, (uint8_t)outcomes[i].capability);
        }
    }
    (void)send_report(agent, &out, false); /* A frame is handled only if its answer has room. */
}

enum ygg_err ygg_twin_on_delta(struct ygg_agent *agent, const yggdrasil_device_v1_TwinDelta *delta)
{
    const uint64_t version = delta->version; /* The answer overwrites the delta. */
    struct outcome outcomes[YGG_TWIN_MAX];
    size_t count = 0;

    if (!agent->twin) {
        return YGG_ERR_STATE;
    }
    if (version == 0 || delta->entries_count == 0) {
        return YGG_ERR_MALFORMED;
    }
    for (size_t i = 0; i < delta->entries_count; i++) {
        const yggdrasil_device_v1_TwinEntry *entry = &delta->entries[i];

        outcomes[count] = (struct outcome){
            .capability = entry->capability, .property = entry->property, .status = write_entry(agent, version, entry)};
        count += outcomes[count].status != 0 ? 1U : 0U;
    }
    if (count > 0) {
        answer_entries(agent, version, outcomes, count);
    }
    return YGG_OK;
}

/* --- late answers of the driver ----------------------------------------------------------------------------------- */

void ygg_twin_detach(struct ygg_agent *agent)
{
    for (size_t i = 0; i < YGG_CALLS_MAX; i++) {
        if (agent->pending[i].kind != YGG_PENDING_CALL) {
            agent->pending[i].session = agent->sessions - 1U;
        }
    }
}

enum ygg_err ygg_twin_finish(struct ygg_agent *agent, struct ygg_pending *pending, const struct ygg_answer *answer)
{
    const struct ygg_pending done = *pending;
    bool wrote = done.kind == YGG_PENDING_TWIN_WRITE;
    bool served = agent->state == YGG_STATE_ACTIVE || agent->state == YGG_STATE_UPDATING;
    struct outcome outcome = {.capability = done.capability, .property = done.property, .status = YGG_STATUS_OK};

    if (!served || done.session != agent->sessions) {
        *pending = (struct ygg_pending){0};
        ygg_twin_mark(agent, done.capability); /* This session's report may have preceded it. */
        return YGG_OK;
    }
    if (!ygg_has_room(agent)) {
        return YGG_ERR_FULL;
    }
    *pending = (struct ygg_pending){0}; /* Reading back may need the slot. */
    outcome.status = wrote ? answer->status : YGG_STATUS_OK;
    struct ygg_value value = wrote ? read_back(agent, &outcome)
                                   : value_of(property_at(agent, done.capability, done.property), answer);
    pb_ostream_t out = open_report(agent, wrote ? done.key.version : 0);
    (void)put_state(&out, &outcome, &value, 0); /* A single state fits any frame. */
    (void)send_report(agent, &out, false);
    return YGG_OK;
}
