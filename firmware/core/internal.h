/* Shared by the files of the core. Not for ports. */
#ifndef YGG_CORE_INTERNAL_H
#define YGG_CORE_INTERNAL_H

#include "core/link.h"
#include "wire/body.h"
#include "ygg/agent.h"

/* Upper bound of the reply to one frame, in bytes, prefix included. */
enum { YGG_REPLY_BYTES = 800 };

static inline uint64_t ygg_now(const struct ygg_agent *agent)
{
    return agent->hal->platform->now_ms(agent->hal->platform_ctx);
}

static inline union ygg_body *ygg_scratch_body(const struct ygg_agent *agent)
{
    return (union ygg_body *)(void *)agent->config->scratch->room.bytes;
}

/* Whether a session is open, so that heartbeats are due. */
static inline bool ygg_in_session(const struct ygg_agent *agent)
{
    return agent->state == YGG_STATE_PAGES || agent->state == YGG_STATE_CONTRACT || agent->state == YGG_STATE_ACTIVE ||
           agent->state == YGG_STATE_UPDATING;
}

void ygg_log(const struct ygg_agent *agent, enum ygg_log_level level, const char *event,
             const struct ygg_log_field *fields, size_t count);

/* agent.c: closes the link and schedules the next attempt, or stops. `reason` is a constant, for the log. */
void ygg_disconnect(struct ygg_agent *agent, const char *reason);

/* agent.c: sends Goodbye, then closes the link. `code` is a yggdrasil.device.v1.GoodbyeCode. */
void ygg_close(struct ygg_agent *agent, uint32_t code, const char *reason);

/* session.c: queues Hello. */
enum ygg_err ygg_session_hello(struct ygg_agent *agent);

/* session.c: queues a body of struct form. */
enum ygg_err ygg_session_send(struct ygg_agent *agent, uint32_t number, const union ygg_body *body);

/* session.c: handles one frame. An error is the peer's fault and ends the session. */
enum ygg_err ygg_session_handle(struct ygg_agent *agent, const struct ygg_envelope *envelope);

/* session.c: queues due frames that fit: pages, answers, events, a Ping. Returns whether it queued any. */
bool ygg_session_produce(struct ygg_agent *agent);

/* session.c: when a Ping is due, and when the silence of the peer times out. */
uint64_t ygg_session_ping_ms(const struct ygg_agent *agent);
uint64_t ygg_session_silence_ms(const struct ygg_agent *agent);

/* calls.c */
enum ygg_err ygg_calls_handle(struct ygg_agent *agent, const yggdrasil_device_v1_Invoke *invoke);
bool ygg_calls_produce(struct ygg_agent *agent);
void ygg_calls_expire(struct ygg_agent *agent);
void ygg_calls_discard_unsent(struct ygg_agent *agent); /* The requesting session has ended. */
uint64_t ygg_calls_wake_ms(const struct ygg_agent *agent);

/* calls.c: passes a call to the driver. YGG_OK: `answer` is filled in. YGG_ERR_AGAIN: the answer comes later; `slot`
 * holds the request like a call's and may be modified by the caller. YGG_ERR_FULL: too many are in flight, nothing was
 * done. */
enum ygg_err ygg_calls_dispatch(struct ygg_agent *agent, struct ygg_call *call, struct ygg_answer *answer,
                                struct ygg_pending **slot);

/* check.c: turns a write of one property into a checked call. `value` is NULL if the peer sent none. */
enum ygg_status ygg_write_check(const struct ygg_document *document, uint32_t capability, uint32_t property,
                                const yggdrasil_device_v1_LinkValue *value, struct ygg_call *call);

/* check.c: turns an Invoke into a call, checked against the tables. `reason` is human-readable, unless OK. */
enum ygg_status ygg_call_check(const struct ygg_document *document, const yggdrasil_device_v1_Invoke *invoke,
                               struct ygg_call *call, const char **reason);

/* events.c */
bool ygg_events_produce(struct ygg_agent *agent);
enum ygg_err ygg_events_resume(struct ygg_agent *agent, uint64_t last_sequence);
enum ygg_err ygg_events_acknowledge(struct ygg_agent *agent, uint64_t sequence);
uint64_t ygg_events_wake_ms(const struct ygg_agent *agent);

/* address.c: whether a text is HOST:PORT or [HOST]:PORT, at most 63 bytes, PORT 1 to 65535. */
bool ygg_address_is_valid(const char *address);

/* update.c */
bool ygg_update_produce(struct ygg_agent *agent);
void ygg_update_apply(struct ygg_agent *agent);
enum ygg_err ygg_update_on_answer(struct ygg_agent *agent, const yggdrasil_device_v1_CapabilityUpdateAck *answer);

/* The document that defines the indexes of events and samples. */
static inline const struct ygg_document *ygg_newest_document(const struct ygg_agent *agent)
{
    return agent->next_document != NULL ? agent->next_document : agent->document;
}

/* Header of a stored event or sample: sequence or time, capability, member. The message follows. */
enum { YGG_KEPT_NUMBER_BYTES = 8, YGG_KEPT_HEAD_BYTES = 10 };

/* telemetry.c */
bool ygg_telemetry_produce(struct ygg_agent *agent);
void ygg_telemetry_grant(struct ygg_agent *agent, uint32_t frames);

/* twin.c */
void ygg_twin_on_contract(struct ygg_agent *agent); /* After a ContractNotice: reports everything. */
void ygg_twin_mark(struct ygg_agent *agent, uint8_t capability);
bool ygg_twin_produce(struct ygg_agent *agent);
void ygg_twin_detach(struct ygg_agent *agent); /* The indexes change: pending answers are not reported. */
uint64_t ygg_twin_wake_ms(const struct ygg_agent *agent);
enum ygg_err ygg_twin_on_delta(struct ygg_agent *agent, const yggdrasil_device_v1_TwinDelta *delta);

/* twin.c: the driver has answered, or its time is over. YGG_ERR_FULL: no room for the report, nothing has changed. */
enum ygg_err ygg_twin_finish(struct ygg_agent *agent, struct ygg_pending *pending, const struct ygg_answer *answer);

/* ota.c */
enum ygg_err ygg_ota_open(struct ygg_agent *agent);
/* After a ContractNotice: concludes a trial and reports the status. */
void ygg_ota_on_contract(struct ygg_agent *agent);
void ygg_ota_on_disconnect(struct ygg_agent *agent); /* The session has ended. */
void ygg_ota_expire(struct ygg_agent *agent);
uint64_t ygg_ota_wake_ms(const struct ygg_agent *agent);
bool ygg_ota_produce(struct ygg_agent *agent);
enum ygg_err ygg_ota_on_offer(struct ygg_agent *agent, const yggdrasil_device_v1_OtaOffer *offer);
enum ygg_err ygg_ota_on_metadata(struct ygg_agent *agent, const yggdrasil_device_v1_OtaMetadata *slice);
enum ygg_err ygg_ota_on_chunk(struct ygg_agent *agent, const struct ygg_envelope *envelope);
enum ygg_err ygg_ota_on_abort(struct ygg_agent *agent, const yggdrasil_device_v1_OtaAbort *abort_frame);

/* Whether the reply to any frame fits now. */
static inline bool ygg_has_room(const struct ygg_agent *agent)
{
    return ygg_link_flushed(agent) || ygg_link_room(agent) >= YGG_REPLY_BYTES;
}

/* check.c: checks a value's type, length and bounds; converts an integer if the schema says DOUBLE. `reason` is
 * human-readable. */
enum ygg_status ygg_value_check(const struct ygg_schema *schema, struct ygg_value *value, const char **reason);

/* check.c: whether a value from the board has the schema's type and length. */
bool ygg_value_matches(const struct ygg_schema *schema, const struct ygg_value *value);

#endif
