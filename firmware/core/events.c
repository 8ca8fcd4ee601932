/* Events: kept in RAM until the bridge has stored them.
 *
 *     memory:  | 5 | 6 | 7 | 8 |        5..7 sent, waiting for EventAck; 8 is next
 *                        ^ event_sent
 *
 * EventAck{6} removes 5 and 6. A new session continues after Welcome.last_event_sequence. At most Welcome.event_window
 * new events are sent ahead of EventAck. Without an EventAck for RESEND_HEARTBEATS heartbeats all unacknowledged events
 * are sent again; the bridge recognises repeats by their sequence. If the memory is full, the oldest are dropped and
 * counted. A record consists of the sequence (8 bytes), capability, event and the bytes of Event without `dropped`,
 * which is appended on sending. */
#include <string.h>

#include "core/internal.h"
#include "core/link.h"
#include "core/records.h"

enum { RESEND_HEARTBEATS = 3 };

static uint64_t sequence_of(const struct ygg_record *record)
{
    uint64_t sequence = 0;

    memcpy(&sequence, record->data, YGG_KEPT_NUMBER_BYTES);
    return sequence;
}

static uint64_t oldest_sequence(const struct ygg_agent *agent)
{
    struct ygg_record oldest = {0};

    return ygg_records_next(&agent->events, &oldest) ? sequence_of(&oldest) : UINT64_MAX;
}

/* Whether a sent event is not acknowledged. */
static bool unacknowledged(const struct ygg_agent *agent)
{
    return oldest_sequence(agent) <= agent->event_sent;
}

static bool fields_match(const struct ygg_event *event, const struct ygg_value *fields, uint8_t count)
{
    if (count != event->fields_count) {
        return false;
    }
    for (uint8_t i = 0; i < count; i++) {
        if (!ygg_value_matches(&event->fields[i].schema, &fields[i])) {
            return false;
        }
    }
    return true;
}

static enum ygg_err store(struct ygg_agent *agent, const struct ygg_event_head *head, const struct ygg_value *fields,
                          uint8_t count)
{
    pb_ostream_t size = PB_OSTREAM_SIZING;

    if (!ygg_event_encode(&size, head, fields, count)) {
        return YGG_ERR_ARGUMENT;
    }
    if (!ygg_records_could_fit(&agent->events, YGG_KEPT_HEAD_BYTES + size.bytes_written)) {
        agent->events_dropped++;
        return YGG_ERR_TOO_LONG;
    }
    while (!ygg_records_fit(&agent->events, YGG_KEPT_HEAD_BYTES + size.bytes_written)) {
        ygg_records_pop(&agent->events);
        agent->events_dropped++;
    }
    uint8_t *record = ygg_records_append(&agent->events, YGG_KEPT_HEAD_BYTES + size.bytes_written);
    memcpy(record, &head->sequence, YGG_KEPT_NUMBER_BYTES);
    record[YGG_KEPT_NUMBER_BYTES] = head->capability;
    record[YGG_KEPT_NUMBER_BYTES + 1] = head->event;
    pb_ostream_t out = pb_ostream_from_buffer(record + YGG_KEPT_HEAD_BYTES, size.bytes_written);
    return ygg_event_encode(&out, head, fields, count) ? YGG_OK : YGG_ERR_ARGUMENT;
}

enum ygg_err ygg_agent_emit(struct ygg_agent *agent, uint8_t capability, uint8_t event, const struct ygg_value *fields,
                            uint8_t count)
{
    const struct ygg_document *document = ygg_newest_document(agent);

    if (capability >= document->count || event >= document->capabilities[capability].events_count ||
        !fields_match(&document->capabilities[capability].events[event], fields, count)) {
        return YGG_ERR_ARGUMENT;
    }
    const struct ygg_event_head head = {
        .sequence = ++agent->event_sequence,
        .uptime_ms = ygg_now(agent) - agent->boot_ms,
        .capability = capability,
        .event = event,
    };
    agent->busy = true;
    return store(agent, &head, fields, count);
}

static enum ygg_err send_record(struct ygg_agent *agent, const struct ygg_record *record)
{
    size_t length = record->length - YGG_KEPT_HEAD_BYTES;
    pb_ostream_t dropped_size = PB_OSTREAM_SIZING;
    pb_ostream_t out;

    if (!ygg_event_encode_dropped(&dropped_size, agent->events_dropped)) {
        return YGG_ERR_ARGUMENT;
    }
    enum ygg_err err = ygg_link_open(agent, YGG_BODY_EVENT, length + dropped_size.bytes_written, &out);
    if (err != YGG_OK) {
        return err;
    }
    if (!pb_write(&out, record->data + YGG_KEPT_HEAD_BYTES, length) ||
        !ygg_event_encode_dropped(&out, agent->events_dropped)) {
        return YGG_ERR_ARGUMENT;
    }
    return ygg_link_commit(agent, &out);
}

static void resend_when_due(struct ygg_agent *agent)
{
    if (unacknowledged(agent) && ygg_now(agent) >= agent->resend_ms) {
        const struct ygg_log_field field = {.key = "after", .number = oldest_sequence(agent) - 1};

        ygg_log(agent, YGG_LOG_WARNING, "events_resent", &field, 1);
        agent->event_sent = oldest_sequence(agent) - 1;
    }
}

static void note_sent(struct ygg_agent *agent, uint64_t sequence)
{
    if (sequence > agent->event_newest) {
        agent->event_newest = sequence;
        agent->events_ahead++;
    }
    agent->event_sent = sequence;
}

/* A repeat does not count: the bridge has counted it already. */
static bool window_allows(const struct ygg_agent *agent, uint64_t sequence)
{
    return sequence <= agent->event_newest || agent->events_ahead < agent->event_window;
}

static void arm_resend(struct ygg_agent *agent)
{
    agent->resend_ms = ygg_now(agent) + (uint64_t)agent->heartbeat_ms * RESEND_HEARTBEATS;
}

bool ygg_events_produce(struct ygg_agent *agent)
{
    struct ygg_record record = {0};
    bool produced = false;

    resend_when_due(agent);
    while (ygg_records_next(&agent->events, &record)) {
        uint64_t sequence = sequence_of(&record);

        if (sequence <= agent->event_sent) {
            continue;
        }
        enum ygg_err err = window_allows(agent, sequence) ? send_record(agent, &record) : YGG_ERR_FULL;
        if (err == YGG_ERR_FULL) {
            break;
        }
        if (!unacknowledged(agent)) {
            arm_resend(agent);
        }
        if (err == YGG_OK) {
            note_sent(agent, sequence);
        } else {
            agent->event_sent = sequence; /* Too long for this session: skipped. */
        }
        produced = produced || err == YGG_OK;
    }
    return produced;
}

static void forget(struct ygg_agent *agent, uint64_t sequence)
{
    while (oldest_sequence(agent) <= sequence) {
        ygg_records_pop(&agent->events);
    }
}

enum ygg_err ygg_events_resume(struct ygg_agent *agent, uint64_t last_sequence)
{
    if (last_sequence > agent->event_sequence) {
        return YGG_ERR_MALFORMED;
    }
    forget(agent, last_sequence);
    agent->event_sent = last_sequence;
    agent->event_newest = last_sequence;
    agent->events_ahead = 0;
    return YGG_OK;
}

enum ygg_err ygg_events_acknowledge(struct ygg_agent *agent, uint64_t sequence)
{
    if (sequence > agent->event_sequence) {
        return YGG_ERR_STATE;
    }
    forget(agent, sequence);
    if (sequence >= agent->event_newest) {
        agent->events_ahead = 0;
    } else if (agent->event_newest - sequence < agent->events_ahead) {
        agent->events_ahead = (uint32_t)(agent->event_newest - sequence);
    }
    arm_resend(agent);
    return YGG_OK;
}

uint64_t ygg_events_wake_ms(const struct ygg_agent *agent)
{
    return unacknowledged(agent) ? agent->resend_ms : UINT64_MAX;
}
