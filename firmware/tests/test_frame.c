/* Frames and envelopes from untrusted bytes. */
#include <string.h>

#include "tests/check.h"
#include "tests/suites.h"
#include "wire/body.h"

static enum ygg_err find(const uint8_t *data, size_t size, size_t limit)
{
    struct ygg_frame frame = {0};

    return ygg_frame_find(data, size, limit, &frame);
}

static void a_frame_is_found_at_every_split(void)
{
    static const size_t lengths[] = {1, 127, 128, 4096, 16383, 16384};
    static uint8_t data[16384 + 3];

    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        pb_ostream_t out = pb_ostream_from_buffer(data, sizeof data);
        struct ygg_frame frame = {0};

        CHECK(pb_encode_varint(&out, lengths[i]));
        size_t whole = out.bytes_written + lengths[i];
        for (size_t size = 0; size < whole; size++) {
            if (find(data, size, 16384) != YGG_ERR_AGAIN) {
                CHECK_EQ(size, whole);
            }
        }
        CHECK_EQ(ygg_frame_find(data, whole, 16384, &frame), YGG_OK);
        CHECK_EQ(frame.offset, out.bytes_written);
        CHECK_EQ(frame.length, lengths[i]);
    }
}

static void a_frame_above_the_limit_is_refused_by_its_prefix_alone(void)
{
    static const uint8_t prefix_4097[] = {0x81, 0x20};

    CHECK_EQ(find(prefix_4097, 1, 4096), YGG_ERR_AGAIN);
    CHECK_EQ(find(prefix_4097, 2, 4096), YGG_ERR_TOO_LONG);
    CHECK_EQ(find(prefix_4097, 2, 4097), YGG_ERR_AGAIN);
}

static void a_prefix_of_four_bytes_is_refused(void)
{
    static const uint8_t prefix[] = {0x80, 0x80, 0x80, 0x01};

    CHECK_EQ(find(prefix, 2, 4096), YGG_ERR_AGAIN);
    CHECK_EQ(find(prefix, 3, 4096), YGG_ERR_MALFORMED);
    CHECK_EQ(find(prefix, 4, 4096), YGG_ERR_MALFORMED);
}

static void an_empty_frame_is_refused(void)
{
    static const uint8_t empty[] = {0x00};

    CHECK_EQ(find(empty, 1, 4096), YGG_ERR_MALFORMED);
}

static void an_envelope_is_exactly_one_body(void)
{
    static const struct {
        uint8_t bytes[8];
        size_t size;
        enum ygg_err err;
    } cases[] = {
        {{0x72, 0x00}, 2, YGG_OK},                        /* Ping without a token. */
        {{0x72, 0x02, 0x08, 0x01}, 4, YGG_OK},            /* A body of two bytes. */
        {{0x72}, 1, YGG_ERR_MALFORMED},                   /* No length. */
        {{0x72, 0x03, 0x08, 0x01}, 4, YGG_ERR_MALFORMED}, /* Length beyond the frame. */
        {{0x72, 0x01, 0x08, 0x01}, 4, YGG_ERR_MALFORMED}, /* Bytes after the body. */
        {{0x72, 0x00, 0x7A, 0x00}, 4, YGG_ERR_MALFORMED}, /* Two bodies. */
        {{0x70, 0x01}, 2, YGG_ERR_MALFORMED},             /* Wire type varint. */
        {{0x73, 0x00}, 2, YGG_ERR_MALFORMED},             /* Wire type group. */
        {{0x02, 0x00}, 2, YGG_ERR_MALFORMED},             /* Field number 0. */
        {{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, 6, YGG_ERR_MALFORMED},
        {{0x72, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01}, 7, YGG_ERR_MALFORMED},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ygg_envelope envelope;

        CHECK_EQ(ygg_envelope_open(cases[i].bytes, cases[i].size, &envelope), cases[i].err);
    }
}

static enum ygg_err decode(uint32_t number, const void *body, size_t size)
{
    const struct ygg_envelope envelope = {.number = number, .body = body, .length = size};
    union ygg_body out;

    return ygg_body_decode(&envelope, &out);
}

static void unknown_bodies_are_critical_below_64_and_optional_from_there(void)
{
    CHECK_EQ(decode(19, "", 0), YGG_ERR_UNKNOWN);
    CHECK_EQ(decode(63, "", 0), YGG_ERR_UNKNOWN);
    CHECK_EQ(decode(64, "", 0), YGG_ERR_SKIP);
    CHECK_EQ(decode(536870911, "garbage", 7), YGG_ERR_SKIP);
}

static void bodies_that_only_a_device_sends_are_out_of_order(void)
{
    CHECK_EQ(decode(YGG_BODY_HELLO, "", 0), YGG_ERR_STATE);
    CHECK_EQ(decode(YGG_BODY_CAPABILITY_PAGE, "", 0), YGG_ERR_STATE);
    CHECK_EQ(decode(YGG_BODY_RESULT, "", 0), YGG_ERR_STATE);
    CHECK_EQ(decode(YGG_BODY_EVENT, "", 0), YGG_ERR_STATE);
    CHECK_EQ(decode(YGG_BODY_TELEMETRY, "", 0), YGG_ERR_STATE);
    CHECK_EQ(decode(YGG_BODY_TWIN_REPORT, "", 0), YGG_ERR_STATE);
    CHECK_EQ(decode(YGG_BODY_CAPABILITY_UPDATE, "", 0), YGG_ERR_STATE);
}

/* Refused.message, field 2: `length` times `fill`. */
static enum ygg_err decode_refused(size_t length, char fill)
{
    uint8_t body[260] = {0x12, (uint8_t)(0x80U | (length & 0x7FU)), (uint8_t)(length >> 7U)};

    memset(body + 3, fill, length);
    return decode(YGG_BODY_REFUSED, body, 3 + length);
}

static void fields_beyond_their_bounds_are_malformed(void)
{
    CHECK_EQ(decode_refused(127, 'a'), YGG_OK);
    CHECK_EQ(decode_refused(128, 'a'), YGG_ERR_MALFORMED);
    CHECK_EQ(decode_refused(4, '\xFF'), YGG_ERR_MALFORMED); /* Not UTF-8. */
}

static void nine_arguments_are_malformed(void)
{
    uint8_t body[9 * 4];
    static const uint8_t argument[] = {0x2A, 0x02, 0x08, 0x01}; /* Invoke.arguments, field 5. */

    for (size_t i = 0; i < 9; i++) {
        memcpy(body + 4 * i, argument, 4);
    }
    CHECK_EQ(decode(YGG_BODY_INVOKE, body, 8 * 4), YGG_OK);
    CHECK_EQ(decode(YGG_BODY_INVOKE, body, 9 * 4), YGG_ERR_MALFORMED);
}

/* Invoke.arguments: { index: 1 }, then { value: { text or data: 3 bytes } }, then an unknown text. */
static enum ygg_err decode_argument(uint8_t kind, const char bytes[3])
{
    uint8_t body[] = {0x2A, 0x02, 0x08, 0x01, 0x2A, 0x07, 0x12, 0x05, 0, 0x03, 0, 0, 0, 0xFA, 0x01, 0x02, 0x00, 0x00};

    body[8] = kind;
    memcpy(body + 10, bytes, 3);
    return decode(YGG_BODY_INVOKE, body, sizeof body);
}

static void a_text_with_a_zero_byte_is_malformed(void)
{
    enum { TEXT = 0x22, DATA = 0x2A }; /* The tags of LinkValue.text and .data. */

    CHECK_EQ(decode_refused(1, '\0'), YGG_ERR_MALFORMED);
    CHECK_EQ(decode_argument(TEXT, "abc"), YGG_OK);
    CHECK_EQ(decode_argument(TEXT, "\0bc"), YGG_ERR_MALFORMED);
    CHECK_EQ(decode_argument(TEXT, "a\0c"), YGG_ERR_MALFORMED);
    CHECK_EQ(decode_argument(TEXT, "ab\0"), YGG_ERR_MALFORMED);
    CHECK_EQ(decode_argument(DATA, "\0\0\0"), YGG_OK);
    /* Invoke.call_id before and after an argument whose last bytes end both it and its value. */
    CHECK_EQ(decode(YGG_BODY_INVOKE, "\x2A\x02\x12\x00\x0A\x01x", 7), YGG_OK);
    CHECK_EQ(decode(YGG_BODY_INVOKE, "\x2A\x02\x12\x00\x0A\x01\x00", 7), YGG_ERR_MALFORMED);
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13U;
    *state ^= *state >> 7U;
    *state ^= *state << 17U;
    return *state;
}

/* The sanitizers check: no input is read or written out of bounds. */
static void random_bytes_are_survived(void)
{
    uint64_t random = 42;
    unsigned opened = 0;

    for (int round = 0; round < 200000; round++) {
        uint8_t data[64];
        struct ygg_envelope envelope;
        struct ygg_frame frame = {0};
        size_t size = next_random(&random) % sizeof data;

        for (size_t i = 0; i < size; i++) {
            data[i] = (uint8_t)next_random(&random);
        }
        if (size > 2 && next_random(&random) % 2 == 0) {
            data[0] = (uint8_t)(size - 1); /* Half of them reach the body. */
            data[1] = (uint8_t)(next_random(&random) % 20 << 3U | 2U);
            data[2] = (uint8_t)(size - 3);
        }
        if (ygg_frame_find(data, size, sizeof data, &frame) == YGG_OK &&
            ygg_envelope_open(data + frame.offset, frame.length, &envelope) == YGG_OK) {
            opened++;
            (void)decode(envelope.number, envelope.body, envelope.length);
        }
    }
    CHECK(opened > 10000);
}

void suite_frame(void)
{
    RUN(a_frame_is_found_at_every_split);
    RUN(a_frame_above_the_limit_is_refused_by_its_prefix_alone);
    RUN(a_prefix_of_four_bytes_is_refused);
    RUN(an_empty_frame_is_refused);
    RUN(an_envelope_is_exactly_one_body);
    RUN(unknown_bodies_are_critical_below_64_and_optional_from_there);
    RUN(bodies_that_only_a_device_sends_are_out_of_order);
    RUN(fields_beyond_their_bounds_are_malformed);
    RUN(nine_arguments_are_malformed);
    RUN(a_text_with_a_zero_byte_is_malformed);
    RUN(random_bytes_are_survived);
}
