/* The life cycle of a session: each state and its transitions. */
#include <string.h>

#include "tests/check.h"
#include "tests/fake.h"
#include "tests/suites.h"
#include "ygg/document.h"

static struct fake fake;

static void begin(void)
{
    fake_init(&fake);
    CHECK_EQ(fake_start(&fake), YGG_OK);
}

static void send_welcome(const yggdrasil_device_v1_Welcome *welcome)
{
    fake_send(&fake, YGG_BODY_WELCOME, yggdrasil_device_v1_Welcome_fields, welcome);
    fake_step(&fake);
}

static void send_contract(void)
{
    const yggdrasil_device_v1_ContractNotice contract = {.revision = 3, .accepted = 6, .refused = 1};

    fake_send(&fake, YGG_BODY_CONTRACT, yggdrasil_device_v1_ContractNotice_fields, &contract);
    fake_step(&fake);
}

static void hello_identifies_the_device(void)
{
    yggdrasil_device_v1_Hello hello = yggdrasil_device_v1_Hello_init_zero;
    uint32_t size = 0;

    begin();
    fake_step(&fake);
    CHECK_EQ(fake.agent.state, YGG_STATE_HELLO);
    CHECK_TEXT(fake.address, "bridge:7443");
    CHECK(fake_take_message(&fake, YGG_BODY_HELLO, yggdrasil_device_v1_Hello_fields, &hello));
    CHECK_TEXT(hello.device_id, "porch-1");
    CHECK_EQ(hello.protocol_min, 1);
    CHECK_EQ(hello.protocol_max, 1);
    CHECK_EQ(hello.boot_id, 0x1122334455667788);
    CHECK_TEXT(hello.hardware.model, "sim-board");
    CHECK_TEXT(hello.firmware.slot, "A");
    CHECK_EQ(hello.limits.rx_frame_bytes, 4096);
    CHECK_EQ(hello.limits.tx_frame_bytes, 4096);
    CHECK_EQ(hello.limits.calls_in_flight, YGG_CALLS_MAX);
    CHECK(memcmp(hello.capabilities_digest, ygg_agent_digest(&fake.agent, &size), 32) == 0);
    CHECK_EQ(hello.capabilities_size_bytes, size);
    fake_free(&fake);
}

static void a_known_digest_needs_no_pages(void)
{
    yggdrasil_device_v1_Welcome welcome = fake_welcome(false);
    struct ygg_envelope envelope;

    begin();
    fake_step(&fake);
    fake_drain(&fake);
    send_welcome(&welcome);
    CHECK_EQ(fake.agent.state, YGG_STATE_CONTRACT);
    CHECK(!fake_take(&fake, &envelope));
    send_contract();
    CHECK_EQ(fake.agent.state, YGG_STATE_ACTIVE);
    CHECK_EQ(fake.agent.sessions, 1);
    fake_free(&fake);
}

/* Decodes a page by hand: nanopb has no struct for it. */
static size_t take_page(uint8_t *whole)
{
    struct ygg_envelope envelope;

    if (!fake_take(&fake, &envelope) || envelope.number != YGG_BODY_CAPABILITY_PAGE) {
        return 0;
    }
    const uint8_t *at = envelope.body;
    const uint8_t *end = envelope.body + envelope.length;
    size_t offset = 0;
    if (at[0] == 0x08) {
        offset = (size_t)(at[1] & 0x7F) | (at[1] & 0x80 ? (size_t)at[2] << 7U : 0);
        at += at[1] & 0x80 ? 3 : 2;
    }
    CHECK_EQ(at[0], 0x12);
    at += at[1] & 0x80 ? 3 : 2;
    memcpy(whole + offset, at, (size_t)(end - at));
    return (size_t)(end - at);
}

static void pages_arrive_in_order_and_make_up_the_document(uint32_t page_bytes, uint32_t tx_frame_bytes)
{
    static uint8_t whole[YGG_DOCUMENT_BYTES_MAX];
    static uint8_t expected[YGG_DOCUMENT_BYTES_MAX];
    yggdrasil_device_v1_Welcome welcome = fake_welcome(true);
    uint32_t size = ygg_document_size(&ygg_sim_document);
    size_t received = 0;

    welcome.page_bytes = page_bytes;
    welcome.device_tx_frame_bytes = tx_frame_bytes;
    begin();
    fake_step(&fake);
    fake_drain(&fake);
    send_welcome(&welcome);
    for (size_t length = 1; length > 0; received += length) {
        length = take_page(whole);
        CHECK(length <= page_bytes && length < tx_frame_bytes);
    }
    CHECK_EQ(received, size);
    CHECK_EQ(ygg_document_read(&ygg_sim_document, 0, expected, size), YGG_OK);
    CHECK(memcmp(whole, expected, size) == 0);
    CHECK_EQ(fake.agent.state, YGG_STATE_CONTRACT);
    fake_free(&fake);
}

static void a_device_without_capabilities_has_a_contract_without_pages(void)
{
    static const struct ygg_document none = {.capabilities = NULL, .count = 0};
    static const uint8_t digest_of_nothing[4] = {0xe3, 0xb0, 0xc4, 0x42};
    const yggdrasil_device_v1_ContractNotice contract = {.revision = 1};
    uint32_t size = 1;

    fake_init(&fake);
    fake.config.document = &none;
    CHECK_EQ(fake_start(&fake), YGG_OK);
    CHECK(memcmp(ygg_agent_digest(&fake.agent, &size), digest_of_nothing, sizeof digest_of_nothing) == 0);
    CHECK_EQ(size, 0);
    fake_step(&fake);
    fake_drain(&fake);
    yggdrasil_device_v1_Welcome welcome = fake_welcome(false);
    send_welcome(&welcome);
    CHECK_EQ(fake.agent.state, YGG_STATE_CONTRACT);
    fake_send(&fake, YGG_BODY_CONTRACT, yggdrasil_device_v1_ContractNotice_fields, &contract);
    fake_step(&fake);
    CHECK_EQ(fake.agent.state, YGG_STATE_ACTIVE);
    fake_free(&fake);
}

static void an_unknown_digest_is_answered_with_pages(void)
{
    pages_arrive_in_order_and_make_up_the_document(4000, 4096);
    pages_arrive_in_order_and_make_up_the_document(300, 4096);
    pages_arrive_in_order_and_make_up_the_document(300, 256);
    pages_arrive_in_order_and_make_up_the_document(7, 256);
}

static void each_session_that_requests_pages_gets_all(void)
{
    static uint8_t whole[YGG_DOCUMENT_BYTES_MAX];
    yggdrasil_device_v1_Welcome welcome = fake_welcome(true);

    begin();
    for (int session = 0; session < 2; session++) {
        size_t received = 0;

        fake.now_ms = fake.agent.deadline_ms;
        fake_step(&fake);
        fake_drain(&fake);
        send_welcome(&welcome);
        for (size_t length = 1; length > 0; received += length) {
            length = take_page(whole);
        }
        CHECK_EQ(received, ygg_document_size(&ygg_sim_document));
        fake.at_end = YGG_ERR_CLOSED;
        fake_step(&fake);
    }
    fake_free(&fake);
}

static void bytes_may_arrive_and_leave_one_by_one(void)
{
    yggdrasil_device_v1_Welcome welcome = fake_welcome(true);
    yggdrasil_device_v1_Result result;

    begin();
    fake.read_max = 1;
    fake.write_max = 1;
    fake_step(&fake);
    send_welcome(&welcome);
    send_contract();
    CHECK_EQ(fake.agent.state, YGG_STATE_ACTIVE);
    fake_drain(&fake);
    fake_invoke(&fake, "c-1", YGG_SIM_COUNTER, YGG_OPERATION_ACTION, 0, 1, (const int64_t[]){5});
    result = fake_result(&fake);
    CHECK_TEXT(result.call_id, "c-1");
    CHECK_EQ(result.status, YGG_STATUS_OK);
    CHECK_EQ(result.values[0].value.kind.integer, 5);
    fake_free(&fake);
}

static void a_refused_device_reconnects_after_the_requested_delay(void)
{
    const yggdrasil_device_v1_Refused refused = {
        .code = yggdrasil_device_v1_RefusedCode_REFUSED_CODE_UNAVAILABLE, .message = "later", .retry_after_ms = 5000};

    begin();
    fake_step(&fake);
    fake_send(&fake, YGG_BODY_REFUSED, yggdrasil_device_v1_Refused_fields, &refused);
    fake_step(&fake);
    CHECK_EQ(fake.agent.state, YGG_STATE_BACKOFF);
    CHECK(!fake.connected);
    uint64_t wait = ygg_agent_wake_ms(&fake.agent) - fake.now_ms;
    CHECK(wait >= 5000 && wait <= 5100); /* The requested delay, and jitter of the first bound. */
    fake_run_until(&fake, fake.now_ms + 5100);
    CHECK_EQ(fake.connects, 2);
    fake_free(&fake);
}

/* Draws 50 delays after a refusal and returns the longest. */
static uint64_t longest_wait_after_refusal(yggdrasil_device_v1_RefusedCode code)
{
    const yggdrasil_device_v1_Refused refused = {.code = code};
    uint64_t longest = 0;

    for (uint64_t seed = 1; seed <= 50; seed++) {
        begin();
        fake.random = seed * 7919;
        fake_step(&fake);
        fake_send(&fake, YGG_BODY_REFUSED, yggdrasil_device_v1_Refused_fields, &refused);
        fake_step(&fake);
        uint64_t wait = ygg_agent_wake_ms(&fake.agent) - fake.now_ms;
        longest = wait > longest ? wait : longest;
        fake_free(&fake);
    }
    return longest;
}

static void a_device_at_fault_reconnects_slowly(void)
{
    CHECK(longest_wait_after_refusal(yggdrasil_device_v1_RefusedCode_REFUSED_CODE_UNAVAILABLE) <= 100);
    CHECK(longest_wait_after_refusal(yggdrasil_device_v1_RefusedCode_REFUSED_CODE_IDENTITY) > 4000);
    CHECK(longest_wait_after_refusal(yggdrasil_device_v1_RefusedCode_REFUSED_CODE_NOT_ACTIVE) > 4000);
}

static void a_requested_delay_is_capped_at_an_hour(void)
{
    const yggdrasil_device_v1_Refused refused = {.code = yggdrasil_device_v1_RefusedCode_REFUSED_CODE_UNAVAILABLE,
                                                 .retry_after_ms = UINT32_MAX};

    begin();
    fake_step(&fake);
    fake_send(&fake, YGG_BODY_REFUSED, yggdrasil_device_v1_Refused_fields, &refused);
    fake_step(&fake);
    CHECK(ygg_agent_wake_ms(&fake.agent) - fake.now_ms <= 3600100);
    fake_free(&fake);
}

static void send_goodbye(uint32_t after_ms, const char *to)
{
    yggdrasil_device_v1_Goodbye goodbye = {.code = yggdrasil_device_v1_GoodbyeCode_GOODBYE_CODE_SHUTDOWN,
                                           .reconnect_after_ms = after_ms};

    memcpy(goodbye.reconnect_to, to, strlen(to) + 1);
    fake_send(&fake, YGG_BODY_GOODBYE, yggdrasil_device_v1_Goodbye_fields, &goodbye);
    fake_step(&fake);
}

static void goodbye_delays_the_reconnect(void)
{
    begin();
    fake_activate(&fake);
    send_goodbye(3000, "");
    CHECK_EQ(fake.agent.state, YGG_STATE_BACKOFF);
    uint64_t wait = ygg_agent_wake_ms(&fake.agent) - fake.now_ms;
    CHECK(wait >= 3000 && wait <= 3100);
    fake_free(&fake);
}

/* A requested delay applies once. */
static void a_requested_delay_applies_once(void)
{
    begin();
    fake_activate(&fake);
    send_goodbye(3000, "");
    fake.now_ms = ygg_agent_wake_ms(&fake.agent);
    fake.connect_result = YGG_ERR_IO;
    ygg_agent_step(&fake.agent);
    CHECK_EQ(fake.agent.state, YGG_STATE_BACKOFF);
    CHECK(ygg_agent_wake_ms(&fake.agent) - fake.now_ms <= 200);
    fake_free(&fake);
}

static void delays_continue_to_grow_after_a_fault(void)
{
    const yggdrasil_device_v1_Refused refused = {.code = yggdrasil_device_v1_RefusedCode_REFUSED_CODE_IDENTITY};
    uint64_t longest = 0;

    for (uint64_t seed = 1; seed <= 50; seed++) {
        begin();
        fake.random = seed * 7919;
        fake_step(&fake);
        fake_send(&fake, YGG_BODY_REFUSED, yggdrasil_device_v1_Refused_fields, &refused);
        fake_step(&fake);
        fake.now_ms = ygg_agent_wake_ms(&fake.agent);
        fake.connect_result = YGG_ERR_IO;
        ygg_agent_step(&fake.agent);
        uint64_t wait = ygg_agent_wake_ms(&fake.agent) - fake.now_ms;
        longest = wait > longest ? wait : longest;
        fake_free(&fake);
    }
    CHECK(longest > 100 && longest <= 200); /* The second bound. */
}

static void a_failed_redirect_returns_to_the_configured_address(void)
{
    begin();
    fake_activate(&fake);
    send_goodbye(0, "other:7443");
    fake.connect_result = YGG_ERR_IO;
    fake_run_until(&fake, ygg_agent_wake_ms(&fake.agent));
    CHECK_TEXT(fake.address, "other:7443");
    fake.connect_result = YGG_OK;
    fake_run_until(&fake, ygg_agent_wake_ms(&fake.agent));
    CHECK_TEXT(fake.address, "bridge:7443");
    fake_free(&fake);
}

static void a_redirect_is_kept_while_it_works(void)
{
    begin();
    fake_activate(&fake);
    send_goodbye(0, "[fe80::1%eth0]:443");
    for (int i = 0; i < 3; i++) { /* Broken sessions there keep the redirect. */
        fake_negotiate(&fake, 0);
        CHECK_TEXT(fake.address, "[fe80::1%eth0]:443");
        fake.at_end = YGG_ERR_CLOSED;
        fake_step(&fake);
        fake_drain(&fake);
    }
    fake_run_until(&fake, ygg_agent_wake_ms(&fake.agent));
    fake.at_end = YGG_ERR_CLOSED; /* Closed before a contract. */
    fake_step(&fake);
    fake_run_until(&fake, ygg_agent_wake_ms(&fake.agent));
    CHECK_TEXT(fake.address, "bridge:7443");
    fake_free(&fake);
}

static void an_invalid_redirect_is_ignored(void)
{
    static const char *const wrong[] = {
        "other",       "other:",    ":7443",      "other:0",     "other:65536",    "other:99999999999",
        "other:7443 ", "ot her:1",  "other:+1",   "other:1\n",   "ot/../her:7443", "[]:1",
        "::1:7443",    "[::1:7443", "other:0x1a", "user@host:1", "o\x01:1",
    };

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        begin();
        fake_activate(&fake);
        send_goodbye(0, wrong[i]);
        CHECK_EQ(fake.agent.state, YGG_STATE_BACKOFF);
        CHECK_TEXT(fake.last_event, "redirect_ignored");
        fake_run_until(&fake, ygg_agent_wake_ms(&fake.agent));
        CHECK_TEXT(fake.address, "bridge:7443");
        fake_free(&fake);
    }
}

static void a_silent_device_sends_a_ping_each_heartbeat(void)
{
    unsigned pings = 0;

    begin();
    fake_activate(&fake);
    for (int beat = 0; beat < 10; beat++) {
        yggdrasil_device_v1_Ping ping = yggdrasil_device_v1_Ping_init_zero;

        fake_run_until(&fake, fake.now_ms + 1000);
        pings += fake_take_message(&fake, YGG_BODY_PING, yggdrasil_device_v1_Ping_fields, &ping);
        fake_send(&fake, YGG_BODY_PONG, yggdrasil_device_v1_Pong_fields, &ping);
        fake_step(&fake);
    }
    CHECK_EQ(pings, 10);
    CHECK_EQ(fake.agent.state, YGG_STATE_ACTIVE);
    fake_free(&fake);
}

static void a_busy_device_sends_no_ping(void)
{
    begin();
    fake_activate(&fake);
    for (int i = 0; i < 20; i++) {
        fake_run_until(&fake, fake.now_ms + 900);
        fake_invoke(&fake, i % 2 == 0 ? "a" : "b", YGG_SIM_LED, YGG_OPERATION_READ, 0, 0, NULL);
        CHECK_EQ(fake_result(&fake).status, YGG_STATUS_OK);
    }
    struct ygg_envelope envelope;
    CHECK(!fake_take(&fake, &envelope));
    fake_free(&fake);
}

/* The bridge stores no events: the device sends all the time and receives nothing. Its Pings find out that the bridge
 * is alive. */
static void a_device_pings_a_silent_bridge_before_closing(void)
{
    unsigned pings = 0;

    begin();
    fake_activate(&fake);
    for (int i = 0; i < 40; i++) {
        const struct ygg_value hot = ygg_double(80.0 + i);
        struct ygg_envelope envelope;

        fake_run_until(&fake, fake.now_ms + 250);
        ygg_sim_set(&fake.board, YGG_SIM_TEMPERATURE, 0, &hot);
        fake_step(&fake);
        while (fake_take(&fake, &envelope)) {
            if (envelope.number == YGG_BODY_PING) {
                pings++;
                fake_send_raw(&fake, YGG_BODY_PONG, envelope.body, envelope.length);
            }
        }
    }
    CHECK_EQ(fake.agent.state, YGG_STATE_ACTIVE);
    CHECK(pings >= 8 && pings <= 10);
    fake_free(&fake);
}

static void a_ping_is_answered_with_its_token(void)
{
    const yggdrasil_device_v1_Ping ping = {.token = 0xDEADBEEF00C0FFEE};
    yggdrasil_device_v1_Pong pong = yggdrasil_device_v1_Pong_init_zero;

    begin();
    fake_activate(&fake);
    fake_send(&fake, YGG_BODY_PING, yggdrasil_device_v1_Ping_fields, &ping);
    fake_step(&fake);
    CHECK(fake_take_message(&fake, YGG_BODY_PONG, yggdrasil_device_v1_Pong_fields, &pong));
    CHECK(pong.token == ping.token);
    fake_free(&fake);
}

static void a_bridge_silent_for_three_heartbeats_is_closed(void)
{
    yggdrasil_device_v1_Goodbye goodbye = yggdrasil_device_v1_Goodbye_init_zero;
    struct ygg_envelope envelope;
    unsigned pings = 0;

    begin();
    fake_activate(&fake);
    fake_run_until(&fake, fake.now_ms + 2999);
    CHECK_EQ(fake.agent.state, YGG_STATE_ACTIVE);
    while (fake_take(&fake, &envelope)) {
        pings += envelope.number == YGG_BODY_PING;
    }
    CHECK_EQ(pings, 2);
    fake.now_ms += 1;
    fake_step(&fake);
    CHECK(fake_find_message(&fake, YGG_BODY_GOODBYE, yggdrasil_device_v1_Goodbye_fields, &goodbye));
    CHECK_EQ(goodbye.code, yggdrasil_device_v1_GoodbyeCode_GOODBYE_CODE_TIMEOUT);
    CHECK_EQ(fake.agent.state, YGG_STATE_BACKOFF);
    fake_free(&fake);
}

static void stopping_sends_goodbye_and_is_final(void)
{
    yggdrasil_device_v1_Goodbye goodbye = yggdrasil_device_v1_Goodbye_init_zero;

    begin();
    fake_activate(&fake);
    ygg_agent_stop(&fake.agent);
    fake_step(&fake);
    CHECK_EQ(fake.agent.state, YGG_STATE_STOPPED);
    CHECK(fake_take_message(&fake, YGG_BODY_GOODBYE, yggdrasil_device_v1_Goodbye_fields, &goodbye));
    CHECK_EQ(goodbye.code, yggdrasil_device_v1_GoodbyeCode_GOODBYE_CODE_SHUTDOWN);
    CHECK(!fake.connected);
    CHECK(ygg_agent_wake_ms(&fake.agent) == UINT64_MAX);
    fake.now_ms += 1000000;
    ygg_agent_step(&fake.agent);
    CHECK_EQ(fake.connects, 1);
    fake_free(&fake);
}

static void stopping_before_the_connection_is_immediate(void)
{
    begin();
    fake.connect_result = YGG_ERR_AGAIN;
    fake_step(&fake);
    CHECK_EQ(fake.agent.state, YGG_STATE_CONNECTING);
    ygg_agent_stop(&fake.agent);
    CHECK_EQ(fake.agent.state, YGG_STATE_STOPPED);
    fake_free(&fake);
}

static void stopping_does_not_wait_for_a_stalled_peer(void)
{
    begin();
    fake_activate(&fake);
    fake.write_room = 0;
    ygg_agent_stop(&fake.agent);
    fake_step(&fake);
    CHECK_EQ(fake.agent.state, YGG_STATE_CLOSING);
    fake_run_until(&fake, fake.now_ms + 1000);
    CHECK_EQ(fake.agent.state, YGG_STATE_STOPPED);
    fake_free(&fake);
}

static void features_are_offered_and_the_choice_is_checked(void)
{
    static const struct ygg_feature offers[] = {
        {.name = "zip", .min_version = 1, .max_version = 3},
        {.name = "must", .min_version = 2, .max_version = 2, .required = true},
    };
    static const struct {
        const char *first;
        uint32_t versions[2];
        bool accepted;
    } cases[] = {
        {"zip", {3, 2}, true},  {"zip", {0, 2}, true},  {"zip", {4, 2}, false},
        {"zip", {1, 0}, false}, {"zap", {1, 2}, false},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        yggdrasil_device_v1_Welcome welcome = fake_welcome(false);
        yggdrasil_device_v1_Hello hello = yggdrasil_device_v1_Hello_init_zero;

        fake_init(&fake);
        fake.config.features = offers;
        fake.config.features_count = 2;
        CHECK_EQ(fake_start(&fake), YGG_OK);
        fake_step(&fake);
        CHECK(fake_take_message(&fake, YGG_BODY_HELLO, yggdrasil_device_v1_Hello_fields, &hello));
        CHECK_EQ(hello.features_count, 2);
        CHECK_TEXT(hello.features[1].name, "must");
        CHECK(hello.features[1].required);
        welcome.features_count = 2;
        memcpy(welcome.features[0].name, cases[i].first, 4);
        memcpy(welcome.features[1].name, "must", 5);
        welcome.features[0].version = cases[i].versions[0];
        welcome.features[1].version = cases[i].versions[1];
        send_welcome(&welcome);
        CHECK_EQ(fake.agent.state == YGG_STATE_CONTRACT, cases[i].accepted);
        fake_free(&fake);
    }
}

static void configurations_out_of_bounds_are_refused(void)
{
    for (int fault = 0; fault < 9; fault++) {
        fake_init(&fake);
        switch (fault) {
        case 0:
            fake.config.boot_id = 0;
            break;
        case 1:
            fake.config.device_id = "";
            break;
        case 2:
            fake.config.model = "a model with a name of over thirty-one bytes";
            break;
        case 3:
            fake.config.rx_size = 258;
            break;
        case 4:
            fake.config.tx_size = 16388;
            break;
        case 5:
            fake.config.events_size = 255;
            break;
        case 6:
            fake.config.backoff_min_ms = 0;
            break;
        case 7:
            fake.config.backoff_max_ms = 99;
            break;
        default:
            fake.config.handshake_timeout_ms = 0;
            break;
        }
        CHECK_EQ(fake_start(&fake), YGG_ERR_ARGUMENT);
        fake_free(&fake);
    }
}

void suite_session(void)
{
    RUN(hello_identifies_the_device);
    RUN(a_known_digest_needs_no_pages);
    RUN(an_unknown_digest_is_answered_with_pages);
    RUN(a_device_without_capabilities_has_a_contract_without_pages);
    RUN(each_session_that_requests_pages_gets_all);
    RUN(bytes_may_arrive_and_leave_one_by_one);
    RUN(a_refused_device_reconnects_after_the_requested_delay);
    RUN(a_device_at_fault_reconnects_slowly);
    RUN(a_requested_delay_is_capped_at_an_hour);
    RUN(goodbye_delays_the_reconnect);
    RUN(a_requested_delay_applies_once);
    RUN(delays_continue_to_grow_after_a_fault);
    RUN(a_failed_redirect_returns_to_the_configured_address);
    RUN(a_redirect_is_kept_while_it_works);
    RUN(an_invalid_redirect_is_ignored);
    RUN(a_silent_device_sends_a_ping_each_heartbeat);
    RUN(a_busy_device_sends_no_ping);
    RUN(a_device_pings_a_silent_bridge_before_closing);
    RUN(a_ping_is_answered_with_its_token);
    RUN(a_bridge_silent_for_three_heartbeats_is_closed);
    RUN(stopping_sends_goodbye_and_is_final);
    RUN(stopping_before_the_connection_is_immediate);
    RUN(stopping_does_not_wait_for_a_stalled_peer);
    RUN(features_are_offered_and_the_choice_is_checked);
    RUN(configurations_out_of_bounds_are_refused);
}
