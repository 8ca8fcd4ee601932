/* Changes of the capability document at run time.
 *
 *     update() --- no session yet, or none ---> announced by the next Hello
 *        |-------- session with the feature --> CapabilityUpdate, UPDATING; pages if requested; ContractNotice: ACTIVE
 *        `-------- session without -----------> Goodbye; announced by the next Hello
 *
 * Until the ContractNotice, calls use the old document. Queued events and samples use the new one immediately: those
 * whose index does not mean the same in both documents are dropped and counted. */
#include <string.h>

#include "core/internal.h"
#include "core/records.h"
#include "ygg/document.h"

static bool same_schema(const struct ygg_schema *a, const struct ygg_schema *b)
{
    return a->type == b->type && a->max_length == b->max_length && a->has_minimum == b->has_minimum &&
           a->has_maximum == b->has_maximum &&
           (!a->has_minimum || !(a->minimum < b->minimum || a->minimum > b->minimum)) &&
           (!a->has_maximum || !(a->maximum < b->maximum || a->maximum > b->maximum));
}

static bool same_event(const struct ygg_event *a, const struct ygg_event *b)
{
    if (strcmp(a->name, b->name) != 0 || a->fields_count != b->fields_count) {
        return false;
    }
    for (size_t i = 0; i < a->fields_count; i++) {
        if (!same_schema(&a->fields[i].schema, &b->fields[i].schema)) {
            return false;
        }
    }
    return true;
}

/* The capability at an index if both documents have the same one there; NULL otherwise. */
static const struct ygg_capability *common(const struct ygg_document *a, const struct ygg_document *b, uint8_t index)
{
    if (index >= a->count || index >= b->count || strcmp(a->capabilities[index].id, b->capabilities[index].id) != 0 ||
        strcmp(a->capabilities[index].type, b->capabilities[index].type) != 0) {
        return NULL;
    }
    return &b->capabilities[index];
}

static uint32_t drop_events(struct ygg_agent *agent, const struct ygg_document *from, const struct ygg_document *to)
{
    struct ygg_record record = {0};
    uint32_t dropped = 0;

    while (ygg_records_next(&agent->events, &record)) {
        uint8_t index = record.data[YGG_KEPT_NUMBER_BYTES];
        uint8_t event = record.data[YGG_KEPT_NUMBER_BYTES + 1];
        const struct ygg_capability *now = common(from, to, index);

        if (now == NULL || event >= now->events_count ||
            !same_event(&from->capabilities[index].events[event], &now->events[event])) {
            ygg_records_remove(&agent->events, &record);
            dropped++;
        }
    }
    return dropped;
}

static uint32_t drop_samples(struct ygg_agent *agent, const struct ygg_document *from, const struct ygg_document *to)
{
    struct ygg_record record = {0};
    uint32_t dropped = 0;

    while (ygg_records_next(&agent->samples, &record)) {
        uint8_t index = record.data[YGG_KEPT_NUMBER_BYTES];
        uint8_t member = record.data[YGG_KEPT_NUMBER_BYTES + 1];
        const struct ygg_capability *now = common(from, to, index);

        if (now == NULL || member >= now->properties_count || !now->properties[member].observable ||
            strcmp(from->capabilities[index].properties[member].name, now->properties[member].name) != 0 ||
            !same_schema(&from->capabilities[index].properties[member].schema, &now->properties[member].schema)) {
            ygg_records_remove(&agent->samples, &record);
            dropped++;
        }
    }
    return dropped;
}

enum ygg_err ygg_agent_update(struct ygg_agent *agent, const struct ygg_document *document)
{
    const struct ygg_hal *hal = agent->hal;
    const struct ygg_document *before = ygg_newest_document(agent);

    if (agent->state == YGG_STATE_UPDATING) {
        return YGG_ERR_AGAIN;
    }
    if (ygg_document_check(document) != YGG_OK) {
        return YGG_ERR_ARGUMENT;
    }
    uint8_t digest[sizeof agent->next_digest];
    if (ygg_document_digest(document, hal->hash, hal->hash_ctx, digest) != YGG_OK) {
        return YGG_ERR_IO;
    }
    memcpy(agent->next_digest, digest, sizeof digest);
    agent->next_document_bytes = ygg_document_size(document);
    agent->events_dropped += drop_events(agent, before, document);
    agent->samples_dropped += drop_samples(agent, before, document);
    agent->next_document = document;
    agent->busy = agent->state != YGG_STATE_STOPPED;
    if (agent->state == YGG_STATE_BACKOFF || agent->state == YGG_STATE_CONNECTING) {
        ygg_update_apply(agent);
    }
    return YGG_OK;
}

void ygg_update_apply(struct ygg_agent *agent)
{
    if (agent->next_document == NULL) {
        return;
    }
    ygg_twin_detach(agent);
    agent->document = agent->next_document;
    agent->document_bytes = agent->next_document_bytes;
    memcpy(agent->digest, agent->next_digest, sizeof agent->digest);
    agent->next_document = NULL;
}

bool ygg_update_produce(struct ygg_agent *agent)
{
    union ygg_body *body = ygg_scratch_body(agent);

    if (!agent->updates) {
        ygg_close(agent, yggdrasil_device_v1_GoodbyeCode_GOODBYE_CODE_SHUTDOWN, "other capabilities from now on");
        return true;
    }
    memset(&body->capability_update, 0, sizeof body->capability_update);
    memcpy(body->capability_update.capabilities_digest, agent->next_digest, sizeof agent->next_digest);
    body->capability_update.capabilities_size_bytes = agent->next_document_bytes;
    if (ygg_session_send(agent, YGG_BODY_CAPABILITY_UPDATE, body) != YGG_OK) {
        return false; /* No room now. */
    }
    ygg_log(agent, YGG_LOG_INFO, "updating", NULL, 0);
    agent->state = YGG_STATE_UPDATING;
    agent->update_answered = false;
    agent->page_offset = agent->next_document_bytes;
    agent->deadline_ms = ygg_now(agent) + agent->config->handshake_timeout_ms;
    return true;
}

enum ygg_err ygg_update_on_answer(struct ygg_agent *agent, const yggdrasil_device_v1_CapabilityUpdateAck *answer)
{
    if (agent->state != YGG_STATE_UPDATING || agent->update_answered) {
        return YGG_ERR_STATE;
    }
    if (answer->send_capabilities && answer->page_bytes == 0) {
        return YGG_ERR_MALFORMED;
    }
    agent->update_answered = true;
    agent->page_bytes = answer->page_bytes;
    agent->page_offset = answer->send_capabilities ? 0 : agent->next_document_bytes;
    return YGG_OK;
}
