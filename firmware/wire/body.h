/* The bodies of a frame, encoded and decoded by nanopb if they are small structs.
 *
 * Result, Event, Telemetry, TwinReport and CapabilityPage are written field by field (from the driver's answer, the
 * event memory and ROM), so their structs take no RAM. Source: protos/yggdrasil/device/v1/link.proto. */
#ifndef YGG_WIRE_BODY_H
#define YGG_WIRE_BODY_H

#include "wire/frame.h"
#include "ygg/agent.h"
#include "yggdrasil/device/v1/link.pb.h"

/* Field numbers of Frame.body. */
enum ygg_body_number {
    YGG_BODY_HELLO = 1,
    YGG_BODY_WELCOME = 2,
    YGG_BODY_REFUSED = 3,
    YGG_BODY_CAPABILITY_PAGE = 4,
    YGG_BODY_CONTRACT = 5,
    YGG_BODY_INVOKE = 6,
    YGG_BODY_RESULT = 7,
    YGG_BODY_EVENT = 8,
    YGG_BODY_EVENT_ACK = 9,
    YGG_BODY_TELEMETRY = 10,
    YGG_BODY_TWIN_DELTA = 11,
    YGG_BODY_TWIN_REPORT = 12,
    YGG_BODY_CAPABILITY_UPDATE = 13,
    YGG_BODY_PING = 14,
    YGG_BODY_PONG = 15,
    YGG_BODY_GOODBYE = 16,
    YGG_BODY_CREDIT = 17,
    YGG_BODY_CAPABILITY_UPDATE_ACK = 18,
    YGG_BODY_CERTIFICATE_EXPIRING = 19,
    YGG_BODY_CERTIFICATE_REQUEST = 20,
    YGG_BODY_CERTIFICATE_ISSUED = 21,
    YGG_BODY_OTA_STATUS = 32,
    YGG_BODY_OTA_OFFER = 33,
    YGG_BODY_OTA_METADATA = 34,
    YGG_BODY_OTA_ACCEPT = 35,
    YGG_BODY_OTA_REJECT = 36,
    YGG_BODY_OTA_CHUNK_REQUEST = 37,
    YGG_BODY_OTA_CHUNK = 38,
    YGG_BODY_OTA_PROGRESS = 39,
    YGG_BODY_OTA_RESULT = 40,
    YGG_BODY_OTA_ABORT = 41
};

/* One body, decoded or to be encoded. Lives in struct ygg_scratch. */
union ygg_body {
    yggdrasil_device_v1_Hello hello;
    yggdrasil_device_v1_Welcome welcome;
    yggdrasil_device_v1_Refused refused;
    yggdrasil_device_v1_ContractNotice contract;
    yggdrasil_device_v1_Invoke invoke;
    yggdrasil_device_v1_EventAck event_ack;
    yggdrasil_device_v1_Ping ping;
    yggdrasil_device_v1_Pong pong;
    yggdrasil_device_v1_Goodbye goodbye;
    yggdrasil_device_v1_Credit credit;
    yggdrasil_device_v1_CapabilityUpdate capability_update;
    yggdrasil_device_v1_CapabilityUpdateAck capability_update_ack;
    yggdrasil_device_v1_TwinDelta twin_delta;
    yggdrasil_device_v1_OtaStatus ota_status;
    yggdrasil_device_v1_OtaOffer ota_offer;
    yggdrasil_device_v1_OtaMetadata ota_metadata;
    yggdrasil_device_v1_OtaAccept ota_accept;
    yggdrasil_device_v1_OtaReject ota_reject;
    yggdrasil_device_v1_OtaChunkRequest ota_chunk_request;
    yggdrasil_device_v1_OtaProgress ota_progress;
    yggdrasil_device_v1_OtaResult ota_result;
    yggdrasil_device_v1_OtaAbort ota_abort;
};

/* Decodes a body that the bridge may send, except OtaChunk, which is larger than the scratch: core/ota_chunks.c reads
 * it in place. YGG_ERR_SKIP: unknown and optional. YGG_ERR_UNKNOWN: unknown and critical. YGG_ERR_STATE: only a device
 * sends it. YGG_ERR_MALFORMED: not a message, a field is too long, or a text contains a zero byte. */
enum ygg_err ygg_body_decode(const struct ygg_envelope *envelope, union ygg_body *body);

/* Decodes a body that is not in union ygg_body; `message` is the struct of `fields`. For core/certificate.c. */
enum ygg_err ygg_body_decode_as(const struct ygg_envelope *envelope, const pb_msgdesc_t *fields, void *message);

/* Encodes a body of struct form: Hello, CapabilityUpdate, Ping, Pong, Goodbye and those of updates. Returns false if
 * the stream failed. */
bool ygg_body_encode(pb_ostream_t *out, uint32_t number, const union ygg_body *body);

/* Encodes Result, without prefix and envelope. `call_id` is 1 to 36 bytes. */
bool ygg_result_encode(pb_ostream_t *out, const char *call_id, const struct ygg_answer *answer);

/* Encodes Event without its last field `dropped`, which ygg_event_encode_dropped appends on sending. */
struct ygg_event_head {
    uint64_t sequence;
    uint64_t uptime_ms;
    uint8_t capability;
    uint8_t event;
};
bool ygg_event_encode(pb_ostream_t *out, const struct ygg_event_head *head, const struct ygg_value *fields,
                      uint8_t count);
bool ygg_event_encode_dropped(pb_ostream_t *out, uint32_t dropped);

/* Encodes Sample without its last field `age_ms`; then such a sample with its age as an element of Telemetry. */
bool ygg_sample_encode(pb_ostream_t *out, uint8_t capability, uint8_t property, const struct ygg_value *value);
bool ygg_sample_encode_aged(pb_ostream_t *out, const uint8_t *sample, size_t length, uint32_t age_ms);
bool ygg_telemetry_encode_dropped(pb_ostream_t *out, uint32_t dropped);

/* Encodes one of TwinReport.states; `value` is NULL if unknown. */
bool ygg_twin_encode_state(pb_ostream_t *out, uint32_t capability, uint32_t property, const struct ygg_value *value,
                           enum ygg_status status);

/* Encodes the part of CapabilityPage that precedes its `length` bytes of data. */
bool ygg_page_encode_head(pb_ostream_t *out, uint32_t offset, size_t length);

/* Returns the value of a decoded argument, pointing into it. False if it has none. */
bool ygg_value_from_link(const yggdrasil_device_v1_LinkValue *link, struct ygg_value *value);

#endif
