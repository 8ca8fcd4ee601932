#include "wire/body.h"

#include <pb_common.h>
#include <pb_decode.h>
#include <string.h>

#include "wire/encode.h"

_Static_assert(sizeof(union ygg_body) <= YGG_SCRATCH_BYTES, "struct ygg_scratch holds any body");
_Static_assert(sizeof(((yggdrasil_device_v1_Invoke *)0)->call_id) == YGG_CALL_ID_BYTES,
               "call ids agree with link.options");
_Static_assert(sizeof(((yggdrasil_device_v1_Welcome *)0)->session_id) == YGG_SESSION_ID_BYTES, "session ids agree");
_Static_assert(sizeof(((yggdrasil_device_v1_Goodbye *)0)->reconnect_to) == YGG_ADDRESS_BYTES, "addresses agree");
_Static_assert(YGG_BODY_GOODBYE == yggdrasil_device_v1_Frame_goodbye_tag, "bodies agree with link.proto");

/* Invoke holds Argument holds LinkValue; no incoming body nests deeper. */
enum { NESTING_MAX = 3 };

static const pb_msgdesc_t *incoming_fields(uint32_t number)
{
    switch (number) {
    case YGG_BODY_WELCOME:
        return yggdrasil_device_v1_Welcome_fields;
    case YGG_BODY_REFUSED:
        return yggdrasil_device_v1_Refused_fields;
    case YGG_BODY_CONTRACT:
        return yggdrasil_device_v1_ContractNotice_fields;
    case YGG_BODY_INVOKE:
        return yggdrasil_device_v1_Invoke_fields;
    case YGG_BODY_EVENT_ACK:
        return yggdrasil_device_v1_EventAck_fields;
    case YGG_BODY_TWIN_DELTA:
        return yggdrasil_device_v1_TwinDelta_fields;
    case YGG_BODY_PING:
        return yggdrasil_device_v1_Ping_fields;
    case YGG_BODY_PONG:
        return yggdrasil_device_v1_Pong_fields;
    case YGG_BODY_GOODBYE:
        return yggdrasil_device_v1_Goodbye_fields;
    case YGG_BODY_CREDIT:
        return yggdrasil_device_v1_Credit_fields;
    case YGG_BODY_CAPABILITY_UPDATE_ACK:
        return yggdrasil_device_v1_CapabilityUpdateAck_fields;
    case YGG_BODY_OTA_OFFER:
        return yggdrasil_device_v1_OtaOffer_fields;
    case YGG_BODY_OTA_METADATA:
        return yggdrasil_device_v1_OtaMetadata_fields;
    case YGG_BODY_OTA_ABORT:
        return yggdrasil_device_v1_OtaAbort_fields;
    default:
        return NULL;
    }
}

static const pb_msgdesc_t *outgoing_fields(uint32_t number)
{
    switch (number) {
    case YGG_BODY_HELLO:
        return yggdrasil_device_v1_Hello_fields;
    case YGG_BODY_CAPABILITY_UPDATE:
        return yggdrasil_device_v1_CapabilityUpdate_fields;
    case YGG_BODY_OTA_STATUS:
        return yggdrasil_device_v1_OtaStatus_fields;
    case YGG_BODY_OTA_ACCEPT:
        return yggdrasil_device_v1_OtaAccept_fields;
    case YGG_BODY_OTA_REJECT:
        return yggdrasil_device_v1_OtaReject_fields;
    case YGG_BODY_OTA_CHUNK_REQUEST:
        return yggdrasil_device_v1_OtaChunkRequest_fields;
    case YGG_BODY_OTA_PROGRESS:
        return yggdrasil_device_v1_OtaProgress_fields;
    case YGG_BODY_OTA_RESULT:
        return yggdrasil_device_v1_OtaResult_fields;
    case YGG_BODY_PING:
        return yggdrasil_device_v1_Ping_fields;
    case YGG_BODY_PONG:
        return yggdrasil_device_v1_Pong_fields;
    case YGG_BODY_GOODBYE:
        return yggdrasil_device_v1_Goodbye_fields;
    default:
        return NULL;
    }
}

static enum ygg_err refuse(uint32_t number)
{
    switch (number) {
    case YGG_BODY_HELLO:
    case YGG_BODY_CAPABILITY_PAGE:
    case YGG_BODY_RESULT:
    case YGG_BODY_EVENT:
    case YGG_BODY_TELEMETRY:
    case YGG_BODY_TWIN_REPORT:
    case YGG_BODY_CAPABILITY_UPDATE:
    case YGG_BODY_CERTIFICATE_REQUEST:
    case YGG_BODY_OTA_STATUS:
    case YGG_BODY_OTA_ACCEPT:
    case YGG_BODY_OTA_REJECT:
    case YGG_BODY_OTA_CHUNK_REQUEST:
    case YGG_BODY_OTA_PROGRESS:
    case YGG_BODY_OTA_RESULT:
        return YGG_ERR_STATE;
    default:
        return number < YGG_BODY_OPTIONAL ? YGG_ERR_UNKNOWN : YGG_ERR_SKIP;
    }
}

/* A nested message; `end` is the number of bytes of the body left after it. */
struct level {
    const pb_msgdesc_t *fields;
    size_t end;
};

/* A decoded text ends at its first zero byte, so bytes after one would be lost: no text may contain one. The body has
 * been decoded with these fields, so it is well-formed. */
static bool texts_hold_no_zero(const struct ygg_envelope *envelope, const pb_msgdesc_t *fields)
{
    pb_istream_t in = pb_istream_from_buffer(envelope->body, envelope->length);
    struct level levels[NESTING_MAX] = {{.fields = fields}};
    size_t depth = 0;

    while (in.bytes_left > 0) {
        pb_field_iter_t field;
        pb_wire_type_t type = PB_WT_VARINT;
        uint32_t number = 0;
        uint32_t length = 0;
        bool eof = false;

        while (in.bytes_left == levels[depth].end) {
            depth--; /* The outermost ends at 0. */
        }
        if (!pb_decode_tag(&in, &type, &number, &eof)) {
            return false;
        }
        if (type != PB_WT_STRING) {
            if (!pb_skip_field(&in, type)) {
                return false;
            }
            continue;
        }
        if (!pb_decode_varint32(&in, &length) || length > in.bytes_left) {
            return false;
        }
        bool known = pb_field_iter_begin(&field, levels[depth].fields, NULL) && pb_field_iter_find(&field, number);
        if (known && PB_LTYPE_IS_SUBMSG(field.type) && depth + 1 < NESTING_MAX) {
            levels[++depth] = (struct level){.fields = field.submsg_desc, .end = in.bytes_left - length};
            continue;
        }
        if (known && PB_LTYPE(field.type) == PB_LTYPE_STRING &&
            memchr(envelope->body + (envelope->length - in.bytes_left), '\0', length) != NULL) {
            return false;
        }
        if (!pb_read(&in, NULL, length)) {
            return false;
        }
    }
    return true;
}

enum ygg_err ygg_body_decode_as(const struct ygg_envelope *envelope, const pb_msgdesc_t *fields, void *message)
{
    pb_istream_t in = pb_istream_from_buffer(envelope->body, envelope->length);

    return pb_decode(&in, fields, message) && texts_hold_no_zero(envelope, fields) ? YGG_OK : YGG_ERR_MALFORMED;
}

enum ygg_err ygg_body_decode(const struct ygg_envelope *envelope, union ygg_body *body)
{
    const pb_msgdesc_t *fields = incoming_fields(envelope->number);

    return fields == NULL ? refuse(envelope->number) : ygg_body_decode_as(envelope, fields, body);
}

bool ygg_body_encode(pb_ostream_t *out, uint32_t number, const union ygg_body *body)
{
    const pb_msgdesc_t *fields = outgoing_fields(number);

    return fields != NULL && pb_encode(out, fields, body);
}

bool ygg_result_encode(pb_ostream_t *out, const char *call_id, const struct ygg_answer *answer)
{
    if (!ygg_put_text(out, yggdrasil_device_v1_Result_call_id_tag, call_id) ||
        !ygg_put_uint(out, yggdrasil_device_v1_Result_status_tag, (uint64_t)answer->status) ||
        !ygg_put_text(out, yggdrasil_device_v1_Result_message_tag, answer->message)) {
        return false;
    }
    for (uint8_t i = 0; i < answer->count; i++) {
        if (!ygg_put_argument(out, yggdrasil_device_v1_Result_values_tag, i, &answer->values[i])) {
            return false;
        }
    }
    return ygg_put_flag(out, yggdrasil_device_v1_Result_more_tag, answer->more);
}

bool ygg_event_encode(pb_ostream_t *out, const struct ygg_event_head *head, const struct ygg_value *fields,
                      uint8_t count)
{
    if (!ygg_put_uint(out, yggdrasil_device_v1_Event_sequence_tag, head->sequence) ||
        !ygg_put_uint(out, yggdrasil_device_v1_Event_capability_tag, head->capability) ||
        !ygg_put_uint(out, yggdrasil_device_v1_Event_event_tag, head->event) ||
        !ygg_put_uint(out, yggdrasil_device_v1_Event_uptime_ms_tag, head->uptime_ms)) {
        return false;
    }
    for (uint8_t i = 0; i < count; i++) {
        if (!ygg_put_argument(out, yggdrasil_device_v1_Event_fields_tag, i, &fields[i])) {
            return false;
        }
    }
    return true;
}

bool ygg_event_encode_dropped(pb_ostream_t *out, uint32_t dropped)
{
    return ygg_put_uint(out, yggdrasil_device_v1_Event_dropped_tag, dropped);
}

bool ygg_sample_encode(pb_ostream_t *out, uint8_t capability, uint8_t property, const struct ygg_value *value)
{
    return ygg_put_uint(out, yggdrasil_device_v1_Sample_capability_tag, capability) &&
           ygg_put_uint(out, yggdrasil_device_v1_Sample_property_tag, property) &&
           ygg_put_value(out, yggdrasil_device_v1_Sample_value_tag, value);
}

bool ygg_sample_encode_aged(pb_ostream_t *out, const uint8_t *sample, size_t length, uint32_t age_ms)
{
    pb_ostream_t age = PB_OSTREAM_SIZING;

    return ygg_put_uint(&age, yggdrasil_device_v1_Sample_age_ms_tag, age_ms) &&
           ygg_put_header(out, yggdrasil_device_v1_Telemetry_samples_tag, length + age.bytes_written) &&
           pb_write(out, sample, length) && ygg_put_uint(out, yggdrasil_device_v1_Sample_age_ms_tag, age_ms);
}

bool ygg_telemetry_encode_dropped(pb_ostream_t *out, uint32_t dropped)
{
    return ygg_put_uint(out, yggdrasil_device_v1_Telemetry_dropped_tag, dropped);
}

static bool put_state(pb_ostream_t *out, uint32_t capability, uint32_t property, const struct ygg_value *value,
                      enum ygg_status status)
{
    return ygg_put_uint(out, yggdrasil_device_v1_TwinState_capability_tag, capability) &&
           ygg_put_uint(out, yggdrasil_device_v1_TwinState_property_tag, property) &&
           (value == NULL || ygg_put_value(out, yggdrasil_device_v1_TwinState_value_tag, value)) &&
           ygg_put_uint(out, yggdrasil_device_v1_TwinState_status_tag, (uint64_t)status);
}

bool ygg_twin_encode_state(pb_ostream_t *out, uint32_t capability, uint32_t property, const struct ygg_value *value,
                           enum ygg_status status)
{
    pb_ostream_t size = PB_OSTREAM_SIZING;

    return put_state(&size, capability, property, value, status) &&
           ygg_put_header(out, yggdrasil_device_v1_TwinReport_states_tag, size.bytes_written) &&
           put_state(out, capability, property, value, status);
}

bool ygg_page_encode_head(pb_ostream_t *out, uint32_t offset, size_t length)
{
    return ygg_put_uint(out, yggdrasil_device_v1_CapabilityPage_offset_tag, offset) &&
           ygg_put_header(out, yggdrasil_device_v1_CapabilityPage_data_tag, length);
}

static struct ygg_slice slice(const void *data, size_t length)
{
    return (struct ygg_slice){.data = data, .length = length};
}

bool ygg_value_from_link(const yggdrasil_device_v1_LinkValue *link, struct ygg_value *value)
{
    switch (link->which_kind) {
    case yggdrasil_device_v1_LinkValue_boolean_tag:
        *value = ygg_bool(link->kind.boolean);
        return true;
    case yggdrasil_device_v1_LinkValue_integer_tag:
        *value = ygg_int(link->kind.integer);
        return true;
    case yggdrasil_device_v1_LinkValue_number_tag:
        *value = ygg_double(link->kind.number);
        return true;
    case yggdrasil_device_v1_LinkValue_text_tag:
        value->type = YGG_TYPE_STRING;
        value->as.bytes = slice(link->kind.text, strlen(link->kind.text));
        return true;
    case yggdrasil_device_v1_LinkValue_data_tag:
        value->type = YGG_TYPE_BYTES;
        value->as.bytes = slice(link->kind.data.bytes, link->kind.data.size);
        return true;
    default:
        return false;
    }
}
