/* Golden vectors, encoded by protoc: the device's codec decodes each and encodes the same bytes again.
 *
 * vectors DIR    reads DIR/NAME.bin; frame_* are Frames, signed_* metadata of updates, the others capability
 * documents */
#include <dirent.h>
#include <pb_decode.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boards/sim/board.h"
#include "tests/check.h"
#include "tests/vectors_ota.h"
#include "wire/body.h"
#include "wire/encode.h"
#include "ygg/document.h"

enum { VECTOR_BYTES_MAX = 16384 };

static uint8_t golden[VECTOR_BYTES_MAX];
static size_t golden_size;
static const char *golden_name;
static uint8_t again[VECTOR_BYTES_MAX + YGG_PREFIX_BYTES];

/* --- documents --------------------------------------------------------------------------------------------------- */

static const struct ygg_property every_properties[] = {
    {.name = "flag", .schema = YGG_SCHEMA_BOOL, .readable = true},
    {.name = "level", .schema = YGG_SCHEMA_INT_RANGE("%", 0, 9007199254740992.0), .writable = true},
    {.name = "warmth",
     .schema = {.type = YGG_TYPE_DOUBLE, .unit = "Cel", .has_minimum = true, .minimum = -273.15},
     .readable = true,
     .writable = true,
     .observable = true},
    {.name = "label", .schema = YGG_SCHEMA_STRING(64), .observable = true},
};
static const struct ygg_parameter run_arguments[] = {
    {.name = "blob", .schema = YGG_SCHEMA_BYTES(1), .optional = true},
    {.name = "most", .schema = {.type = YGG_TYPE_DOUBLE, .has_maximum = true, .maximum = 0}},
};
static const struct ygg_parameter run_results[] = {
    {.name = "count", .schema = YGG_SCHEMA_INT(NULL)},
    {.name = "text", .schema = YGG_SCHEMA_STRING(0)},
};
static const struct ygg_action every_actions[] = {
    {.name = "nothing"},
    {.name = "run",
     .arguments = run_arguments,
     .arguments_count = YGG_COUNT(run_arguments),
     .results = run_results,
     .results_count = YGG_COUNT(run_results),
     .streamed = true},
};
static const struct ygg_parameter changed_fields[] = {
    {.name = "pin", .schema = YGG_SCHEMA_INT_RANGE(NULL, 0, 3)},
    {.name = "level", .schema = YGG_SCHEMA_BOOL},
};
static const struct ygg_event every_events[] = {
    {.name = "alarm"},
    {.name = "changed", .fields = changed_fields, .fields_count = YGG_COUNT(changed_fields)},
};
static const struct ygg_capability every_capabilities[] = {
    {.id = "all",
     .type = "test.every.kind",
     .version = 300,
     .properties = every_properties,
     .properties_count = YGG_COUNT(every_properties),
     .actions = every_actions,
     .actions_count = YGG_COUNT(every_actions),
     .events = every_events,
     .events_count = YGG_COUNT(every_events)},
    {.id = "bare", .type = "test.bare", .version = 1},
};
static const struct ygg_document every_document = {.capabilities = every_capabilities,
                                                   .count = YGG_COUNT(every_capabilities)};

static void check_document(void)
{
    const struct ygg_document *document = strcmp(golden_name, "sim_board.bin") == 0 ? &ygg_sim_document
                                                                                    : &every_document;

    CHECK(strcmp(golden_name, "sim_board.bin") == 0 || strcmp(golden_name, "document_every_kind.bin") == 0);
    CHECK_EQ(ygg_document_check(document), YGG_OK);
    CHECK_EQ(ygg_document_size(document), golden_size);
    CHECK_EQ(ygg_document_read(document, 0, again, golden_size), YGG_OK);
    CHECK(memcmp(again, golden, golden_size) == 0);
}

/* --- frames ------------------------------------------------------------------------------------------------------ */

/* Bodies that the device only decodes; the test encodes them from the same struct. */
static const pb_msgdesc_t *bridge_fields(uint32_t number)
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
    case YGG_BODY_CREDIT:
        return yggdrasil_device_v1_Credit_fields;
    case YGG_BODY_CAPABILITY_UPDATE_ACK:
        return yggdrasil_device_v1_CapabilityUpdateAck_fields;
    default:
        return NULL;
    }
}

static bool decode(const struct ygg_envelope *envelope, const pb_msgdesc_t *fields, void *message)
{
    pb_istream_t in = pb_istream_from_buffer(envelope->body, envelope->length);

    return pb_decode(&in, fields, message);
}

/* Stores decoded arguments by index, which must be 0, 1, 2 … as the device encodes them. */
static uint8_t take_values(const yggdrasil_device_v1_Argument *arguments, size_t count, struct ygg_value *values)
{
    for (size_t i = 0; i < count; i++) {
        CHECK_EQ(arguments[i].index, i);
        CHECK(ygg_value_from_link(&arguments[i].value, &values[i]));
    }
    return (uint8_t)count;
}

static bool again_result(pb_ostream_t *out, const struct ygg_envelope *envelope)
{
    static yggdrasil_device_v1_Result result;
    struct ygg_answer answer = {0};

    CHECK(decode(envelope, yggdrasil_device_v1_Result_fields, &result));
    answer.status = (enum ygg_status)result.status;
    answer.message = result.message;
    answer.more = result.more;
    answer.count = take_values(result.values, result.values_count, answer.values);
    return ygg_result_encode(out, result.call_id, &answer);
}

static bool again_event(pb_ostream_t *out, const struct ygg_envelope *envelope)
{
    static yggdrasil_device_v1_Event event;
    struct ygg_value values[YGG_ARGUMENTS_MAX];

    CHECK(decode(envelope, yggdrasil_device_v1_Event_fields, &event));
    const struct ygg_event_head head = {.sequence = event.sequence,
                                        .uptime_ms = event.uptime_ms,
                                        .capability = (uint8_t)event.capability,
                                        .event = (uint8_t)event.event};
    uint8_t count = take_values(event.fields, event.fields_count, values);
    return ygg_event_encode(out, &head, values, count) && ygg_event_encode_dropped(out, event.dropped);
}

static bool again_telemetry(pb_ostream_t *out, const struct ygg_envelope *envelope)
{
    static yggdrasil_device_v1_Telemetry telemetry;

    CHECK(decode(envelope, yggdrasil_device_v1_Telemetry_fields, &telemetry));
    for (size_t i = 0; i < telemetry.samples_count; i++) {
        const yggdrasil_device_v1_Sample *sample = &telemetry.samples[i];
        uint8_t bytes[128];
        struct ygg_value value;
        pb_ostream_t kept = pb_ostream_from_buffer(bytes, sizeof bytes);

        if (!CHECK(ygg_value_from_link(&sample->value, &value)) ||
            !CHECK(ygg_sample_encode(&kept, (uint8_t)sample->capability, (uint8_t)sample->property, &value)) ||
            !ygg_sample_encode_aged(out, bytes, kept.bytes_written, sample->age_ms)) {
            return false;
        }
    }
    return ygg_telemetry_encode_dropped(out, telemetry.dropped);
}

static bool again_twin_report(pb_ostream_t *out, const struct ygg_envelope *envelope)
{
    static yggdrasil_device_v1_TwinReport report;

    CHECK(decode(envelope, yggdrasil_device_v1_TwinReport_fields, &report));
    if (!ygg_put_uint(out, yggdrasil_device_v1_TwinReport_version_tag, report.version)) {
        return false;
    }
    for (size_t i = 0; i < report.states_count; i++) {
        const yggdrasil_device_v1_TwinState *state = &report.states[i];
        struct ygg_value value;

        CHECK_EQ(ygg_value_from_link(&state->value, &value), state->has_value);
        if (!ygg_twin_encode_state(out, state->capability, state->property, state->has_value ? &value : NULL,
                                   (enum ygg_status)state->status)) {
            return false;
        }
    }
    return ygg_put_flag(out, yggdrasil_device_v1_TwinReport_complete_tag, report.complete);
}

static bool keep_data(pb_istream_t *in, const pb_field_t *field, void **arg)
{
    struct ygg_slice *data = *arg;
    static uint8_t bytes[VECTOR_BYTES_MAX];

    (void)field;
    *data = (struct ygg_slice){.data = bytes, .length = in->bytes_left};
    return pb_read(in, bytes, in->bytes_left);
}

static bool again_page(pb_ostream_t *out, const struct ygg_envelope *envelope)
{
    struct ygg_slice data = {0};
    yggdrasil_device_v1_CapabilityPage page = {.data = {.funcs = {.decode = keep_data}, .arg = &data}};

    CHECK(decode(envelope, yggdrasil_device_v1_CapabilityPage_fields, &page));
    return ygg_page_encode_head(out, page.offset, data.length) && pb_write(out, data.data, data.length);
}

static bool again_hello(pb_ostream_t *out, const struct ygg_envelope *envelope)
{
    static union ygg_body body;

    CHECK(decode(envelope, yggdrasil_device_v1_Hello_fields, &body.hello));
    return ygg_body_encode(out, YGG_BODY_HELLO, &body);
}

static bool again_update(pb_ostream_t *out, const struct ygg_envelope *envelope)
{
    static union ygg_body body;

    CHECK(decode(envelope, yggdrasil_device_v1_CapabilityUpdate_fields, &body.capability_update));
    return ygg_body_encode(out, YGG_BODY_CAPABILITY_UPDATE, &body);
}

/* Bodies of core/certificate.c, which are not in union ygg_body. */
static bool again_certificate(pb_ostream_t *out, const struct ygg_envelope *envelope)
{
    static union {
        yggdrasil_device_v1_CertificateExpiring expiring;
        yggdrasil_device_v1_CertificateRequest request;
        yggdrasil_device_v1_CertificateIssued issued;
    } body;
    const pb_msgdesc_t *fields = envelope->number == YGG_BODY_CERTIFICATE_EXPIRING
                                     ? yggdrasil_device_v1_CertificateExpiring_fields
                                 : envelope->number == YGG_BODY_CERTIFICATE_REQUEST
                                     ? yggdrasil_device_v1_CertificateRequest_fields
                                     : yggdrasil_device_v1_CertificateIssued_fields;

    CHECK_EQ(ygg_body_decode_as(envelope, fields, &body), YGG_OK);
    return pb_encode(out, fields, &body);
}

static bool again_from_bridge(pb_ostream_t *out, const struct ygg_envelope *envelope)
{
    static union ygg_body body;
    const pb_msgdesc_t *fields = bridge_fields(envelope->number);

    CHECK_EQ(ygg_body_decode(envelope, &body), YGG_OK);
    return fields != NULL ? pb_encode(out, fields, &body) : ygg_body_encode(out, envelope->number, &body);
}

static bool again_body(pb_ostream_t *out, const struct ygg_envelope *envelope)
{
    bool written = false;

    if (vectors_ota_again(out, envelope, &written)) {
        return written;
    }
    switch (envelope->number) {
    case YGG_BODY_HELLO:
        return again_hello(out, envelope);
    case YGG_BODY_CAPABILITY_PAGE:
        return again_page(out, envelope);
    case YGG_BODY_RESULT:
        return again_result(out, envelope);
    case YGG_BODY_EVENT:
        return again_event(out, envelope);
    case YGG_BODY_CERTIFICATE_EXPIRING:
    case YGG_BODY_CERTIFICATE_REQUEST:
    case YGG_BODY_CERTIFICATE_ISSUED:
        return again_certificate(out, envelope);
    case YGG_BODY_CAPABILITY_UPDATE:
        return again_update(out, envelope);
    case YGG_BODY_TELEMETRY:
        return again_telemetry(out, envelope);
    case YGG_BODY_TWIN_REPORT:
        return again_twin_report(out, envelope);
    default:
        return again_from_bridge(out, envelope);
    }
}

static void check_frame(void)
{
    pb_ostream_t out = pb_ostream_from_buffer(again, sizeof again);
    struct ygg_envelope envelope;
    struct ygg_frame frame = {0};

    CHECK_EQ(ygg_envelope_open(golden, golden_size, &envelope), YGG_OK);
    CHECK(ygg_envelope_put(&out, envelope.number, envelope.length));
    CHECK(again_body(&out, &envelope));
    CHECK_EQ(ygg_frame_find(again, out.bytes_written, VECTOR_BYTES_MAX, &frame), YGG_OK);
    CHECK_EQ(frame.length, golden_size);
    CHECK_EQ(frame.offset + frame.length, out.bytes_written);
    CHECK(memcmp(again + frame.offset, golden, golden_size) == 0);
}

static void check_signed(void)
{
    vectors_check_signed(golden_name, golden, golden_size);
}

/* --- the directory ----------------------------------------------------------------------------------------------- */

static bool load(const char *dir, const char *name)
{
    char path[4096];

    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return false;
    }
    golden_name = name;
    golden_size = fread(golden, 1, sizeof golden, file);
    return fclose(file) == 0;
}

int main(int argc, char **argv)
{
    DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;

    if (dir == NULL) {
        (void)fputs("usage: vectors DIR\n", stderr);
        return EXIT_FAILURE;
    }
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        const char *end = strrchr(entry->d_name, '.');

        if (end != NULL && strcmp(end, ".bin") == 0 && load(argv[1], entry->d_name)) {
            check_run(entry->d_name, strncmp(entry->d_name, "frame_", 6) == 0    ? check_frame
                                     : strncmp(entry->d_name, "signed_", 7) == 0 ? check_signed
                                                                                 : check_document);
        }
    }
    (void)closedir(dir);
    return check_report();
}
