/* Protocol violations of the bridge and broken connections: the device reports the reason and reconnects. */
#include <string.h>

#include "tests/check.h"
#include "tests/fake.h"
#include "tests/suites.h"

static struct fake fake;

static void begin_in(enum ygg_state state)
{
    yggdrasil_device_v1_Welcome welcome = fake_welcome(false);

    fake_init(&fake);
    CHECK_EQ(fake_start(&fake), YGG_OK);
    if (state == YGG_STATE_ACTIVE) {
        fake_activate(&fake);
    } else {
        fake_step(&fake);
    }
    if (state == YGG_STATE_CONTRACT) {
        fake_send(&fake, YGG_BODY_WELCOME, yggdrasil_device_v1_Welcome_fields, &welcome);
        fake_step(&fake);
    }
    CHECK_EQ(fake.agent.state, state);
    fake_drain(&fake);
}

/* Steps and returns the code of the Goodbye that the device sends, or -1. Ends the fake. */
static int goodbye(void)
{
    yggdrasil_device_v1_Goodbye said = yggdrasil_device_v1_Goodbye_init_zero;
    int code = -1;

    fake_step(&fake);
    if (fake_find_message(&fake, YGG_BODY_GOODBYE, yggdrasil_device_v1_Goodbye_fields, &said)) {
        code = (int)said.code;
        CHECK_EQ(fake.agent.state, YGG_STATE_BACKOFF);
        CHECK(!fake.connected);
        CHECK(said.message[0] != '\0');
    }
    fake_free(&fake);
    return code;
}

enum {
    PROTOCOL_ERROR = yggdrasil_device_v1_GoodbyeCode_GOODBYE_CODE_PROTOCOL_ERROR,
    UNKNOWN_FRAME = yggdrasil_device_v1_GoodbyeCode_GOODBYE_CODE_UNKNOWN_FRAME,
    TIMEOUT = yggdrasil_device_v1_GoodbyeCode_GOODBYE_CODE_TIMEOUT
};

static void frames_out_of_order_end_the_session(void)
{
    static const struct {
        enum ygg_state state;
        uint32_t number;
        bool allowed;
    } cases[] = {
        {YGG_STATE_HELLO, YGG_BODY_CONTRACT, false},
        {YGG_STATE_HELLO, YGG_BODY_INVOKE, false},
        {YGG_STATE_HELLO, YGG_BODY_EVENT_ACK, false},
        {YGG_STATE_HELLO, YGG_BODY_PING, false},
        {YGG_STATE_HELLO, YGG_BODY_PONG, false},
        {YGG_STATE_HELLO, YGG_BODY_HELLO, false},
        {YGG_STATE_CONTRACT, YGG_BODY_WELCOME, false},
        {YGG_STATE_CONTRACT, YGG_BODY_INVOKE, false},
        {YGG_STATE_CONTRACT, YGG_BODY_EVENT_ACK, false},
        {YGG_STATE_CONTRACT, YGG_BODY_PING, true},
        {YGG_STATE_CONTRACT, YGG_BODY_PONG, true},
        {YGG_STATE_CONTRACT, YGG_BODY_CONTRACT, true},
        {YGG_STATE_ACTIVE, YGG_BODY_WELCOME, false},
        {YGG_STATE_ACTIVE, YGG_BODY_REFUSED, false},
        {YGG_STATE_ACTIVE, YGG_BODY_RESULT, false},
        {YGG_STATE_ACTIVE, YGG_BODY_EVENT, false},
        {YGG_STATE_ACTIVE, YGG_BODY_CAPABILITY_PAGE, false},
        {YGG_STATE_ACTIVE, YGG_BODY_CONTRACT, true},
        {YGG_STATE_ACTIVE, YGG_BODY_EVENT_ACK, true},
        {YGG_STATE_ACTIVE, YGG_BODY_CREDIT, true},
        {YGG_STATE_CONTRACT, YGG_BODY_CREDIT, false},
        {YGG_STATE_ACTIVE, YGG_BODY_CAPABILITY_UPDATE_ACK, false},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        begin_in(cases[i].state);
        fake_send_raw(&fake, cases[i].number, "", 0);
        if (!CHECK_EQ(goodbye(), cases[i].allowed ? -1 : PROTOCOL_ERROR)) {
            CHECK_EQ(i, -1); /* Shows the index. */
        }
    }
}

static void an_unknown_critical_frame_ends_the_session(void)
{
    begin_in(YGG_STATE_ACTIVE);
    fake_send_raw(&fake, 45, "x", 1);
    CHECK_EQ(goodbye(), UNKNOWN_FRAME);
}

static void an_unknown_optional_frame_is_skipped(void)
{
    begin_in(YGG_STATE_ACTIVE);
    fake_send_raw(&fake, 64, "\xFF\xFF", 2);
    fake_send_raw(&fake, 1000, "", 0);
    fake_invoke(&fake, "after", YGG_SIM_LED, YGG_OPERATION_READ, 0, 0, NULL);
    CHECK_TEXT(fake_result(&fake).call_id, "after");
    fake_free(&fake);
}

static void a_frame_that_is_too_long_ends_the_session(void)
{
    static const uint8_t prefix[] = {0x81, 0x20}; /* 4097. */

    begin_in(YGG_STATE_ACTIVE);
    fake_feed(&fake, prefix, sizeof prefix);
    CHECK_EQ(goodbye(), PROTOCOL_ERROR);
}

static void the_longest_frame_is_accepted(void)
{
    static uint8_t filler[4096 - 4]; /* With tag 64 and length: 4096. */

    begin_in(YGG_STATE_ACTIVE);
    fake_send_raw(&fake, 64, filler, sizeof filler);
    CHECK_EQ(fake.in_end - fake.in_read, 4098);
    fake_send_raw(&fake, YGG_BODY_PING, "", 0);
    CHECK_EQ(goodbye(), -1);
    CHECK_EQ(fake.in_read, fake.in_end);
}

static void garbage_ends_the_session(void)
{
    begin_in(YGG_STATE_HELLO);
    fake_feed(&fake, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
    fake_feed(&fake, "more than enough bytes to fill the frame that the H stands for, and more", 72);
    CHECK_EQ(goodbye(), PROTOCOL_ERROR);
}

static void a_malformed_body_ends_the_session(void)
{
    begin_in(YGG_STATE_ACTIVE);
    fake_send_raw(&fake, YGG_BODY_INVOKE, "\x0A\x7F", 2); /* call_id of 127 missing bytes. */
    CHECK_EQ(goodbye(), PROTOCOL_ERROR);
}

static void a_call_without_an_id_ends_the_session(void)
{
    begin_in(YGG_STATE_ACTIVE);
    fake_invoke(&fake, "", YGG_SIM_LED, YGG_OPERATION_READ, 0, 0, NULL);
    CHECK_EQ(goodbye(), PROTOCOL_ERROR);
}

static void unacceptable_terms_are_refused(void)
{
    for (int fault = 0; fault < 11; fault++) {
        yggdrasil_device_v1_Welcome welcome = fake_welcome(true);

        switch (fault) {
        case 0:
            welcome.protocol = 2;
            break;
        case 1:
            welcome.session_id[0] = '\0';
            break;
        case 2:
            welcome.heartbeat_ms = 0;
            break;
        case 3:
            welcome.heartbeat_ms = UINT32_MAX;
            break;
        case 4:
            welcome.device_rx_frame_bytes = 4097;
            break;
        case 5:
            welcome.device_tx_frame_bytes = 4097;
            break;
        case 6:
            welcome.device_tx_frame_bytes = 255;
            break;
        case 7:
            welcome.page_bytes = 0;
            break;
        case 9:
            welcome.event_window = 0;
            break;
        case 8:
            welcome.last_event_sequence = 1;
            break; /* No event was emitted. */
        default:
            welcome.features_count = 1;
            break;
        }
        begin_in(YGG_STATE_HELLO);
        fake_send(&fake, YGG_BODY_WELCOME, yggdrasil_device_v1_Welcome_fields, &welcome);
        if (!CHECK_EQ(goodbye(), PROTOCOL_ERROR)) {
            CHECK_EQ(fault, -1);
        }
    }
}

static void each_step_of_negotiation_has_a_timeout(void)
{
    static const enum ygg_state states[] = {YGG_STATE_HELLO, YGG_STATE_CONTRACT};

    for (size_t i = 0; i < 2; i++) {
        begin_in(states[i]);
        /* Complete optional frames satisfy the heartbeat but not the timeout. */
        for (int part = 0; part < 49; part++) {
            fake.now_ms += 100;
            fake_send_raw(&fake, 64, "", 0);
            fake_step(&fake);
            CHECK_EQ(fake.agent.state, states[i]);
        }
        fake.now_ms += 100;
        CHECK_EQ(goodbye(), TIMEOUT);
    }
}

static void connecting_times_out(void)
{
    fake_init(&fake);
    fake.connect_result = YGG_ERR_AGAIN;
    CHECK_EQ(fake_start(&fake), YGG_OK);
    fake_run_until(&fake, fake.now_ms + 4999);
    CHECK_EQ(fake.agent.state, YGG_STATE_CONNECTING);
    fake.now_ms += 1;
    ygg_agent_step(&fake.agent);
    CHECK_EQ(fake.agent.state, YGG_STATE_BACKOFF);
    fake_free(&fake);
}

static void a_broken_connection_reconnects_from_every_state(void)
{
    static const enum ygg_state states[] = {YGG_STATE_HELLO, YGG_STATE_CONTRACT, YGG_STATE_ACTIVE};
    static const enum ygg_err errors[] = {YGG_ERR_CLOSED, YGG_ERR_IO};

    for (size_t i = 0; i < 6; i++) {
        begin_in(states[i / 2]);
        fake.at_end = errors[i % 2];
        fake_step(&fake);
        CHECK_EQ(fake.agent.state, YGG_STATE_BACKOFF);
        fake_activate(&fake);
        CHECK_EQ(fake.connects, 2);
        fake_free(&fake);
    }
}

/* Partial frames of an old session must not leak into the next. */
static void a_new_connection_starts_with_no_old_bytes(void)
{
    begin_in(YGG_STATE_ACTIVE);
    fake_feed(&fake, "\x40half", 5);
    fake.at_end = YGG_ERR_CLOSED;
    fake_step(&fake);
    CHECK_EQ(fake.agent.state, YGG_STATE_BACKOFF);
    fake_activate(&fake);
    fake_invoke(&fake, "fresh", YGG_SIM_LED, YGG_OPERATION_READ, 0, 0, NULL);
    CHECK_TEXT(fake_result(&fake).call_id, "fresh");
    fake_free(&fake);
}

/* A peer that floods but does not read is not read from, and times out. */
static void a_flood_without_reading_costs_bounded_memory(void)
{
    begin_in(YGG_STATE_ACTIVE);
    fake.write_room = 0;
    for (int i = 0; i < 2000; i++) {
        fake_send_raw(&fake, YGG_BODY_PING, "", 0);
    }
    fake_step(&fake);
    CHECK(fake.in_read < fake.in_end);
    CHECK_EQ(fake.agent.state, YGG_STATE_ACTIVE);
    fake_run_until(&fake, fake.now_ms + 5000);
    CHECK_EQ(fake.agent.state == YGG_STATE_ACTIVE, false);
    fake_free(&fake);
}

static void one_step_serves_a_bounded_number_of_frames(void)
{
    begin_in(YGG_STATE_ACTIVE);
    for (int i = 0; i < 1000; i++) {
        fake_send_raw(&fake, YGG_BODY_PING, "", 0);
    }
    ygg_agent_step(&fake.agent);
    struct ygg_envelope envelope;
    unsigned pongs = 0;
    while (fake_take(&fake, &envelope)) {
        pongs++;
    }
    CHECK(pongs > 0 && pongs < 100);
    CHECK_EQ(ygg_agent_wake_ms(&fake.agent), fake.now_ms);
    fake_step(&fake);
    while (fake_take(&fake, &envelope)) {
        pongs++;
    }
    CHECK_EQ(pongs, 1000);
    fake_free(&fake);
}

void suite_faults(void)
{
    RUN(frames_out_of_order_end_the_session);
    RUN(an_unknown_critical_frame_ends_the_session);
    RUN(an_unknown_optional_frame_is_skipped);
    RUN(a_frame_that_is_too_long_ends_the_session);
    RUN(the_longest_frame_is_accepted);
    RUN(garbage_ends_the_session);
    RUN(a_malformed_body_ends_the_session);
    RUN(a_call_without_an_id_ends_the_session);
    RUN(unacceptable_terms_are_refused);
    RUN(each_step_of_negotiation_has_a_timeout);
    RUN(connecting_times_out);
    RUN(a_broken_connection_reconnects_from_every_state);
    RUN(a_new_connection_starts_with_no_old_bytes);
    RUN(a_flood_without_reading_costs_bounded_memory);
    RUN(one_step_serves_a_bounded_number_of_frames);
}
