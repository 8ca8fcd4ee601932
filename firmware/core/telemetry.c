/* Telemetry: values of observable properties, sent at most once.
 *
 * Samples wait in a small memory until the session has room and credit. Then as many as fit are sent in one frame of at
 * most YGG_SAMPLES_MAX, which costs one credit. If the memory is full, the oldest are dropped and counted: the newest
 * value is worth more. A record consists of the time (8 bytes), capability, property and the bytes of Sample without
 * `age_ms`, which is appended on sending. */
#include <string.h>

#include "core/internal.h"
#include "core/link.h"
#include "core/records.h"

/* Upper bound of the credit that is kept: more than any bridge grants at a time. */
enum { CREDIT_MAX = 1 << 20 };

static bool room_exists(const struct ygg_agent *agent, size_t length)
{
    return agent->samples.size > 0 && ygg_records_could_fit(&agent->samples, length);
}

static void drop_oldest(struct ygg_agent *agent)
{
    ygg_records_pop(&agent->samples);
    agent->samples_dropped++;
}

static enum ygg_err keep(struct ygg_agent *agent, uint8_t capability, uint8_t property, const struct ygg_value *value)
{
    const uint64_t now = ygg_now(agent);
    pb_ostream_t size = PB_OSTREAM_SIZING;

    if (!ygg_sample_encode(&size, capability, property, value)) {
        return YGG_ERR_ARGUMENT;
    }
    if (!room_exists(agent, YGG_KEPT_HEAD_BYTES + size.bytes_written)) {
        agent->samples_dropped++;
        return YGG_ERR_TOO_LONG;
    }
    while (!ygg_records_fit(&agent->samples, YGG_KEPT_HEAD_BYTES + size.bytes_written)) {
        drop_oldest(agent);
    }
    uint8_t *record = ygg_records_append(&agent->samples, YGG_KEPT_HEAD_BYTES + size.bytes_written);
    memcpy(record, &now, YGG_KEPT_NUMBER_BYTES);
    record[YGG_KEPT_NUMBER_BYTES] = capability;
    record[YGG_KEPT_NUMBER_BYTES + 1] = property;
    pb_ostream_t out = pb_ostream_from_buffer(record + YGG_KEPT_HEAD_BYTES, size.bytes_written);
    return ygg_sample_encode(&out, capability, property, value) ? YGG_OK : YGG_ERR_ARGUMENT;
}

enum ygg_err ygg_agent_sample(struct ygg_agent *agent, uint8_t capability, uint8_t property,
                              const struct ygg_value *value)
{
    const struct ygg_document *document = ygg_newest_document(agent);

    if (capability >= document->count || property >= document->capabilities[capability].properties_count) {
        return YGG_ERR_ARGUMENT;
    }
    const struct ygg_property *declared = &document->capabilities[capability].properties[property];
    if (!declared->observable || !ygg_value_matches(&declared->schema, value)) {
        return YGG_ERR_ARGUMENT;
    }
    agent->busy = true;
    return keep(agent, capability, property, value);
}

void ygg_telemetry_grant(struct ygg_agent *agent, uint32_t frames)
{
    uint32_t room = CREDIT_MAX - agent->credit;

    if (agent->telemetry) {
        agent->credit += frames < room ? frames : room;
    }
}

static uint32_t age_ms(const struct ygg_agent *agent, const struct ygg_record *record)
{
    uint64_t taken = 0;

    memcpy(&taken, record->data, YGG_KEPT_NUMBER_BYTES);
    uint64_t age = ygg_now(agent) - taken;
    return age < UINT32_MAX ? (uint32_t)age : UINT32_MAX;
}

/* Writes the first `count` samples, or all if there are fewer. */
static bool put_samples(const struct ygg_agent *agent, pb_ostream_t *out, size_t count)
{
    struct ygg_record record = {0};

    for (size_t i = 0; i < count && ygg_records_next(&agent->samples, &record); i++) {
        if (!ygg_sample_encode_aged(out, record.data + YGG_KEPT_HEAD_BYTES, record.length - YGG_KEPT_HEAD_BYTES,
                                    age_ms(agent, &record))) {
            return false;
        }
    }
    return ygg_telemetry_encode_dropped(out, agent->samples_dropped);
}

static size_t count_waiting(const struct ygg_agent *agent)
{
    struct ygg_record record = {0};
    size_t count = 0;

    while (count < YGG_SAMPLES_MAX && ygg_records_next(&agent->samples, &record)) {
        count++;
    }
    return count;
}

/* Sends the first `count` samples, or fewer if the session's frames are too short. */
static enum ygg_err send(struct ygg_agent *agent, size_t *count)
{
    enum ygg_err err = YGG_ERR_TOO_LONG;

    while (err == YGG_ERR_TOO_LONG && *count > 0) {
        pb_ostream_t size = PB_OSTREAM_SIZING;
        pb_ostream_t out;

        if (!put_samples(agent, &size, *count)) {
            return YGG_ERR_ARGUMENT;
        }
        err = ygg_link_open(agent, YGG_BODY_TELEMETRY, size.bytes_written, &out);
        if (err == YGG_OK) {
            return put_samples(agent, &out, *count) ? ygg_link_commit(agent, &out) : YGG_ERR_ARGUMENT;
        }
        *count -= err == YGG_ERR_TOO_LONG ? 1U : 0U;
    }
    return err;
}

bool ygg_telemetry_produce(struct ygg_agent *agent)
{
    bool produced = false;

    for (;;) {
        size_t count = count_waiting(agent);

        if (count == 0 || agent->credit == 0 || send(agent, &count) != YGG_OK) {
            return produced;
        }
        agent->credit--;
        for (; count > 0; count--) {
            ygg_records_pop(&agent->samples);
        }
        produced = true;
    }
}
