/* What the files of the core share. Not for ports. */
#ifndef YGG_CORE_INTERNAL_H
#define YGG_CORE_INTERNAL_H

#include "core/link.h"
#include "wire/body.h"
#include "ygg/agent.h"

/* A reply to one frame never needs more room than this, in bytes, prefix included. */
enum { YGG_REPLY_BYTES = 800 };

static inline uint64_t ygg_now(const struct ygg_agent *agent)
{
    return agent->hal->platform->now_ms(agent->hal->platform_ctx);
}

static inline union ygg_body *ygg_scratch_body(const struct ygg_agent *agent)
{
    return (union ygg_body *)(void *)agent->config->scratch->room.bytes;
}

/* Whether there is a session: heartbeats are due. */
static inline bool ygg_in_session(const struct ygg_agent *agent)
{
    return agent->state == YGG_STATE_PAGES || agent->state == YGG_STATE_CONTRACT ||
           agent->state == YGG_STATE_ACTIVE || agent->state == YGG_STATE_UPDATING;
}

void ygg_log(const struct ygg_agent *agent, enum ygg_log_level level, const char *event,
             const struct ygg_log_field *fields, size_t count);

/* agent.c: drops the link and waits for the next try, or stops. `why` is a constant, for people. */
void ygg_disconnect(struct ygg_agent *agent, const char *reason);

/* agent.c: says Goodbye, then drops the link. `code` is a yggdrasil.device.v1.GoodbyeCode. */
void ygg_close(struct ygg_agent *agent, uint32_t code, const char *reason);

/* session.c: queues Hello. */
enum ygg_err ygg_session_hello(struct ygg_agent *agent);

/* session.c: queues a body of struct form. */
enum ygg_err ygg_session_send(struct ygg_agent *agent, uint32_t number, const union ygg_body *body);

/* session.c: acts on one frame. An error is the peer's fault and ends the session. */
enum ygg_err ygg_session_handle(struct ygg_agent *agent, const struct ygg_envelope *envelope);

/* session.c: queues what is due and fits: pages, answers, events, a Ping. True where something was queued. */
bool ygg_session_produce(struct ygg_agent *agent);

/* session.c: when a Ping is due, and when the peer has been silent for too long. */
uint64_t ygg_session_ping_ms(const struct ygg_agent *agent);
uint64_t ygg_session_silence_ms(const struct ygg_agent *agent);

/* calls.c */
enum ygg_err ygg_calls_handle(struct ygg_agent *agent, const yggdrasil_device_v1_Invoke *invoke);
bool ygg_calls_produce(struct ygg_agent *agent);
void ygg_calls_expire(struct ygg_agent *agent);
void ygg_calls_discard_unsent(struct ygg_agent *agent); /* The session that asked is over. */
uint64_t ygg_calls_wake_ms(const struct ygg_agent *agent);

/* calls.c: hands a call to the driver. YGG_OK: `answer` is filled in. YGG_ERR_AGAIN: it comes later, `slot` waits for
 * it as for a call and is the caller's to change. YGG_ERR_FULL: too much is under way, nothing was done. */
enum ygg_err ygg_calls_dispatch(struct ygg_agent *agent, struct ygg_call *call, struct ygg_answer *answer,
                           struct ygg_pending **slot);

/* check.c: the same for one property, where `value` is NULL without one. */
enum ygg_status ygg_write_check(const struct ygg_document *document, uint32_t capability, uint32_t property,
                                const yggdrasil_device_v1_LinkValue *value, struct ygg_call *call);

/* check.c: turns an Invoke into a call, checked against the tables. `why` is for people, where not OK. */
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

/* The document that events and samples are numbered by. */
static inline const struct ygg_document *ygg_newest_document(const struct ygg_agent *agent)
{
    return agent->next_document != NULL ? agent->next_document : agent->document;
}

/* The first bytes of a kept event or sample: sequence or time, capability, member. Then the message. */
enum { YGG_KEPT_NUMBER_BYTES = 8, YGG_KEPT_HEAD_BYTES = 10 };

/* telemetry.c */
bool ygg_telemetry_produce(struct ygg_agent *agent);
void ygg_telemetry_grant(struct ygg_agent *agent, uint32_t frames);

/* twin.c */
void ygg_twin_on_contract(struct ygg_agent *agent); /* After a ContractNotice: everything is reported. */
void ygg_twin_mark(struct ygg_agent *agent, uint8_t capability);
bool ygg_twin_produce(struct ygg_agent *agent);
void ygg_twin_detach(struct ygg_agent *agent); /* Other indexes from now on: nobody waits for what is under way. */
uint64_t ygg_twin_wake_ms(const struct ygg_agent *agent);
enum ygg_err ygg_twin_on_delta(struct ygg_agent *agent, const yggdrasil_device_v1_TwinDelta *delta);

/* twin.c: the driver has answered, or is late. YGG_ERR_FULL: no room for the report, nothing has changed. */
enum ygg_err ygg_twin_finish(struct ygg_agent *agent, struct ygg_pending *pending, const struct ygg_answer *answer);

/* ota.c */
enum ygg_err ygg_ota_open(struct ygg_agent *agent);
void ygg_ota_on_contract(struct ygg_agent *agent); /* After a ContractNotice: a trial is judged, the status is told. */
void ygg_ota_on_disconnect(struct ygg_agent *agent);   /* The session is over. */
void ygg_ota_expire(struct ygg_agent *agent);
uint64_t ygg_ota_wake_ms(const struct ygg_agent *agent);
bool ygg_ota_produce(struct ygg_agent *agent);
enum ygg_err ygg_ota_on_offer(struct ygg_agent *agent, const yggdrasil_device_v1_OtaOffer *offer);
enum ygg_err ygg_ota_on_metadata(struct ygg_agent *agent, const yggdrasil_device_v1_OtaMetadata *slice);
enum ygg_err ygg_ota_on_chunk(struct ygg_agent *agent, const struct ygg_envelope *envelope);
enum ygg_err ygg_ota_on_abort(struct ygg_agent *agent, const yggdrasil_device_v1_OtaAbort *abort_frame);

/* Whether anything that answers one frame could be queued now. */
static inline bool ygg_has_room(const struct ygg_agent *agent)
{
    return ygg_link_flushed(agent) || ygg_link_room(agent) >= YGG_REPLY_BYTES;
}

/* check.c: whether a value has the schema's type, length and bounds; an integer becomes a double where one is due.
 * `why` is for people. */
enum ygg_status ygg_value_check(const struct ygg_schema *schema, struct ygg_value *value, const char **reason);

/* check.c: whether a value of ours has the schema's type and length. */
bool ygg_value_matches(const struct ygg_schema *schema, const struct ygg_value *value);

#endif
