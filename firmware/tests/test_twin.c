/* The twin: a full report after each contract, changes afterwards, and desired values are written and reported. */
#include <math.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "tests/check.h"
#include "tests/fake.h"
#include "tests/suites.h"
#include "ygg/document.h"

static struct fake fake;

static const struct ygg_feature offered[] = {YGG_FEATURE_TWIN, YGG_FEATURE_CAPABILITY_UPDATE};

typedef yggdrasil_device_v1_TwinReport report_t;
typedef yggdrasil_device_v1_TwinDelta delta_t;

static void prepare(void)
{
    fake_init(&fake);
    fake.config.features = offered;
    fake.config.features_count = YGG_COUNT(offered);
}

/* An active session whose first report has been taken. */
static void begin(void)
{
    prepare();
    CHECK_EQ(fake_start(&fake), YGG_OK);
    fake_activate(&fake);
    fake.now_ms += 1000;
    fake_step(&fake);
    fake_drain(&fake);
}

/* Takes the next report; all zero at the end. */
static report_t next_report(void)
{
    static report_t report;

    memset(&report, 0, sizeof report);
    fake_step(&fake);
    if (!fake_find_message(&fake, YGG_BODY_TWIN_REPORT, yggdrasil_device_v1_TwinReport_fields, &report)) {
        report.states_count = 0;
    }
    return report;
}

static bool no_report(void)
{
    const report_t report = next_report();

    return report.states_count == 0 && !report.complete && report.version == 0;
}

static bool is_state(const yggdrasil_device_v1_TwinState *state, uint32_t capability, uint32_t property)
{
    return state->capability == capability && state->property == property;
}

static yggdrasil_device_v1_LinkValue *want(delta_t *delta, uint32_t capability, uint32_t property, pb_size_t kind)
{
    yggdrasil_device_v1_TwinEntry *entry = &delta->entries[delta->entries_count++];

    *entry = (yggdrasil_device_v1_TwinEntry){.capability = capability, .property = property, .has_value = true};
    entry->value.which_kind = kind;
    return &entry->value;
}

static void desire_bool(delta_t *delta, uint32_t capability, uint32_t property, bool value)
{
    want(delta, capability, property, yggdrasil_device_v1_LinkValue_boolean_tag)->kind.boolean = value;
}

static void desire_int(delta_t *delta, uint32_t capability, uint32_t property, int64_t value)
{
    want(delta, capability, property, yggdrasil_device_v1_LinkValue_integer_tag)->kind.integer = value;
}

static void send_delta(const delta_t *delta)
{
    fake_send(&fake, YGG_BODY_TWIN_DELTA, yggdrasil_device_v1_TwinDelta_fields, delta);
}

static void send_brightness(uint64_t version, int64_t percent)
{
    delta_t delta = {.version = version};

    desire_int(&delta, YGG_SIM_LED, 1, percent);
    send_delta(&delta);
}

/* --- reports
 * --------------------------------------------------------------------------------------------------------- */

static void a_contract_triggers_a_full_report(void)
{
    static const uint8_t expected[][2] = {{YGG_SIM_LED, 0},  {YGG_SIM_LED, 1},  {YGG_SIM_GPIO, 0}, {YGG_SIM_GPIO, 1},
                                          {YGG_SIM_GPIO, 2}, {YGG_SIM_GPIO, 3}, {YGG_SIM_SIREN, 0}};

    prepare();
    CHECK_EQ(fake_start(&fake), YGG_OK);
    fake.board.led_percent = 33;
    for (int session = 0; session < 2; session++) {
        fake_negotiate(&fake, 0);
        const report_t report = next_report();
        CHECK_EQ(report.version, 0);
        CHECK(report.complete);
        CHECK_EQ(report.states_count, 7);
        for (size_t i = 0; i < 7; i++) {
            CHECK(is_state(&report.states[i], expected[i][0], expected[i][1]));
            CHECK_EQ(report.states[i].status, YGG_STATUS_OK);
            CHECK(report.states[i].has_value);
        }
        CHECK_EQ(report.states[1].value.kind.integer, 33);
        CHECK(no_report());
        fake.at_end = YGG_ERR_CLOSED;
        fake_step(&fake);
        fake_drain(&fake);
    }
    fake_free(&fake);
}

static void a_device_without_settable_properties_reports_complete(void)
{
    const struct ygg_document bare = {.capabilities = &ygg_sim_document.capabilities[YGG_SIM_TEMPERATURE], .count = 1};

    prepare();
    fake.config.document = &bare;
    CHECK_EQ(fake_start(&fake), YGG_OK);
    fake_negotiate(&fake, 0);
    const report_t report = next_report();
    CHECK_EQ(report.states_count, 0);
    CHECK(report.complete);
    fake_free(&fake);
}

static struct ygg_value long_text(void)
{
    static const uint8_t text[YGG_VALUE_BYTES_MAX] = "a text as long as a text can be, which is sixty-four bytes: here";

    return (struct ygg_value){.type = YGG_TYPE_STRING, .as = {.bytes = {.data = text, .length = sizeof text}}};
}

static const struct ygg_property labels[] = {
#define LABEL(name_) {.name = (name_), .schema = YGG_SCHEMA_STRING(64), .readable = true, .writable = true}
    LABEL("a"), LABEL("b"), LABEL("c"), LABEL("d"), LABEL("e"),
    LABEL("f"), LABEL("g"), LABEL("h"), LABEL("i"), LABEL("j"),
};
static const struct ygg_capability wordy = {
    .id = "w", .type = "w.w", .version = 1, .properties = labels, .properties_count = YGG_COUNT(labels)};
static const struct ygg_document wordy_document = {.capabilities = &wordy, .count = 1};

/* A session with minimal frames, and a board that answers everything with a long text. */
static void begin_wordy(size_t frame_bytes)
{
    prepare();
    fake.config.document = &wordy_document;
    fake.config.tx_size = frame_bytes + YGG_PREFIX_BYTES;
    fake.frame_bytes = (uint32_t)frame_bytes;
    fake.canned = (struct ygg_answer){.status = YGG_STATUS_OK, .count = 1, .values = {long_text()}};
    CHECK_EQ(fake_start(&fake), YGG_OK);
    fake_negotiate(&fake, 0);
}

static void a_report_is_split_to_the_sessions_frames(void)
{
    static const size_t frames[] = {256, 300, 700, 4096};

    for (size_t f = 0; f < sizeof frames / sizeof frames[0]; f++) {
        struct ygg_envelope envelope;
        unsigned states = 0;
        bool complete = false;

        begin_wordy(frames[f]);
        fake_step(&fake);
        while (fake_take(&fake, &envelope)) {
            report_t report = yggdrasil_device_v1_TwinReport_init_zero;
            pb_istream_t in = pb_istream_from_buffer(envelope.body, envelope.length);

            if (envelope.number != YGG_BODY_TWIN_REPORT) {
                continue;
            }
            CHECK(envelope.length + 4 <= frames[f]);
            CHECK(pb_decode(&in, yggdrasil_device_v1_TwinReport_fields, &report));
            CHECK(!complete);
            for (size_t i = 0; i < report.states_count; i++) {
                CHECK(is_state(&report.states[i], 0, states++));
            }
            complete = report.complete;
        }
        CHECK_EQ(states, YGG_COUNT(labels));
        CHECK(complete);
        fake_free(&fake);
    }
}

static void a_report_waits_for_room(void)
{
    begin_wordy(256);
    fake.agent.twin_ms = fake.now_ms;
    fake_drain(&fake);
    fake.write_room = 100;
    CHECK_EQ(ygg_agent_changed(&fake.agent, 0), YGG_OK);
    CHECK(no_report());
    fake.write_room = SIZE_MAX;
    unsigned states = 0;
    for (report_t report = next_report(); report.states_count > 0; report = next_report()) {
        states += report.states_count;
    }
    CHECK_EQ(states, YGG_COUNT(labels));
    fake_free(&fake);
}

static void a_value_that_violates_the_tables_is_omitted(void)
{
    static const uint8_t text[] = "x";
    const struct ygg_value wrong[] = {ygg_int(101),
                                      ygg_bool(true),
                                      ygg_double(NAN),
                                      {.type = YGG_TYPE_STRING, .as = {.bytes = {.data = text, .length = 1}}}};

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        begin();
        fake.canned = (struct ygg_answer){.status = YGG_STATUS_OK, .count = 1, .values = {wrong[i]}};
        CHECK_EQ(ygg_agent_changed(&fake.agent, YGG_SIM_LED), YGG_OK);
        const report_t report = next_report();
        CHECK_EQ(report.states_count, 2);
        CHECK(!report.states[1].has_value);
        CHECK_EQ(report.states[1].status, YGG_STATUS_OK);
        fake_free(&fake);
    }
}

static void only_capabilities_that_a_call_may_change_are_reported(void)
{
    begin();
    fake_invoke(&fake, "r", YGG_SIM_LED, YGG_OPERATION_READ, 0, 0, NULL);
    fake_invoke(&fake, "c", YGG_SIM_COUNTER, YGG_OPERATION_ACTION, 0, 1, (const int64_t[]){1});
    fake_invoke(&fake, "bad", YGG_SIM_LED, YGG_OPERATION_WRITE, 1, 1, (const int64_t[]){101});
    CHECK(no_report()); /* None of these can change a reported property. */
    fake_invoke(&fake, "w", YGG_SIM_LED, YGG_OPERATION_WRITE, 1, 1, (const int64_t[]){40});
    const report_t report = next_report();
    CHECK_EQ(report.states_count, 2);
    CHECK(is_state(&report.states[1], YGG_SIM_LED, 1));
    CHECK_EQ(report.states[1].value.kind.integer, 40);
    CHECK(!report.complete && report.version == 0);
    fake_free(&fake);
}

static void changes_are_batched_into_few_reports(void)
{
    unsigned reports = 0;

    begin();
    uint64_t until = fake.now_ms + 1000;
    while (fake.now_ms < until) {
        const struct ygg_value level = ygg_int((int64_t)(fake.now_ms % 100U));

        ygg_sim_set(&fake.board, YGG_SIM_LED, 1, &level);
        fake_run_until(&fake, fake.now_ms + 5);
    }
    const struct ygg_value last = ygg_int(7);
    ygg_sim_set(&fake.board, YGG_SIM_LED, 1, &last);
    fake_run_until(&fake, fake.now_ms + 200);
    report_t newest = yggdrasil_device_v1_TwinReport_init_zero;
    for (report_t report = next_report(); report.states_count > 0; report = next_report()) {
        newest = report;
        reports++;
    }
    CHECK(reports >= 9 && reports <= 12);
    CHECK_EQ(newest.states[1].value.kind.integer, 7);
    fake_free(&fake);
}

static void the_end_of_blinking_is_reported(void)
{
    begin();
    fake_invoke(&fake, "b", YGG_SIM_LED, YGG_OPERATION_ACTION, 0, 2, (const int64_t[]){2, 1000});
    CHECK(next_report().states[0].value.kind.boolean);
    CHECK_EQ(ygg_sim_wake_ms(&fake.board), fake.now_ms + 2000);
    fake.now_ms += 2000;
    ygg_sim_step(&fake.board);
    const report_t report = next_report();
    CHECK_EQ(report.states_count, 2);
    CHECK(!report.states[0].value.kind.boolean);
    CHECK_EQ(ygg_sim_wake_ms(&fake.board), UINT64_MAX);
    fake_free(&fake);
}

static void without_the_feature_nothing_is_reported(void)
{
    prepare();
    fake.features_refused = true;
    CHECK_EQ(fake_start(&fake), YGG_OK);
    fake_negotiate(&fake, 0);
    CHECK_EQ(ygg_agent_changed(&fake.agent, YGG_SIM_LED), YGG_OK);
    CHECK(no_report());
    CHECK_EQ(ygg_agent_changed(&fake.agent, YGG_SIM_LIGHT), YGG_ERR_ARGUMENT); /* Not plugged in. */
    fake_free(&fake);
}

/* --- desired values
 * --------------------------------------------------------------------------------------------------- */

static void a_delta_is_written_and_read_back(void)
{
    delta_t delta = {.version = 7};

    begin();
    desire_bool(&delta, YGG_SIM_LED, 0, true);
    desire_int(&delta, YGG_SIM_LED, 1, 10);
    desire_int(&delta, YGG_SIM_LED, 1, 20); /* The later one wins. */
    send_delta(&delta);
    const report_t report = next_report();
    CHECK_EQ(report.version, 7);
    CHECK_EQ(report.states_count, 3);
    CHECK(!report.complete);
    CHECK(is_state(&report.states[0], YGG_SIM_LED, 0) && report.states[0].value.kind.boolean);
    CHECK_EQ(report.states[2].value.kind.integer, 20);
    CHECK_EQ(report.states[2].status, YGG_STATUS_OK);
    CHECK(fake.board.led_on && fake.board.led_percent == 20);
    CHECK_EQ(fake.board.writes[YGG_SIM_LED][1], 2);
    CHECK_EQ(fake.agent.calls_done, 0);
    fake.now_ms += 1000;
    CHECK(no_report()); /* The answer was the report. */
    fake_free(&fake);
}

static void failed_entries_have_a_status_and_the_rest_is_written(void)
{
    static const enum ygg_status expected[] = {
        YGG_STATUS_NOT_FOUND, YGG_STATUS_NOT_FOUND,        YGG_STATUS_NOT_FOUND,        YGG_STATUS_NOT_ALLOWED,
        YGG_STATUS_OK,        YGG_STATUS_INVALID_ARGUMENT, YGG_STATUS_INVALID_ARGUMENT, YGG_STATUS_INVALID_ARGUMENT};
    delta_t delta = {.version = 3};

    begin();
    desire_int(&delta, YGG_SIM_LIGHT, 0, 1);
    desire_int(&delta, 256 + YGG_SIM_LED, 1, 1); /* Equals the LED if truncated to a byte. */
    desire_int(&delta, YGG_SIM_LED, UINT32_MAX, 1);
    desire_int(&delta, YGG_SIM_TEMPERATURE, 0, 1);
    desire_int(&delta, YGG_SIM_LED, 1, 55);
    desire_int(&delta, YGG_SIM_LED, 1, 101);
    desire_bool(&delta, YGG_SIM_LED, 1, true);
    desire_int(&delta, YGG_SIM_LED, 1, 0);
    delta.entries[7].has_value = false;
    send_delta(&delta);
    const report_t report = next_report();
    CHECK_EQ(report.version, 3);
    CHECK_EQ(report.states_count, 8);
    for (size_t i = 0; i < 8; i++) {
        CHECK(is_state(&report.states[i], delta.entries[i].capability, delta.entries[i].property));
        CHECK_EQ(report.states[i].status, expected[i]);
        CHECK_EQ(report.states[i].has_value, expected[i] != YGG_STATUS_NOT_FOUND);
    }
    CHECK_EQ(report.states[7].value.kind.integer, 55);
    CHECK_EQ(fake.board.led_percent, 55);
    CHECK_EQ(fake.agent.state, YGG_STATE_ACTIVE);
    fake_free(&fake);
}

static void a_desired_text_reaches_the_driver_whole(void)
{
    delta_t delta = {.version = 1};

    begin_wordy(4096);
    fake_drain(&fake);
    for (uint32_t i = 0; i < 8; i++) {
        (void)snprintf(want(&delta, 0, i, yggdrasil_device_v1_LinkValue_text_tag)->kind.text, 65, "%064u", i);
    }
    send_delta(&delta);
    CHECK_EQ(next_report().states_count, 8);
    CHECK_EQ(fake.last_write.arguments[0].as.bytes.length, 64);
    CHECK(memcmp(fake.last_text, delta.entries[7].value.kind.text, 64) == 0);
    fake_free(&fake);
}

/* Eight long values exceed 256 bytes: the answer is complete without them, and the values follow. */
static void values_that_do_not_fit_an_answer_follow(void)
{
    delta_t delta = {.version = UINT64_MAX};
    unsigned with = 0;
    unsigned followed = 0;

    begin_wordy(256);
    fake_step(&fake);
    fake.now_ms += 1000;
    fake_drain(&fake);
    for (uint32_t i = 0; i < 8; i++) {
        (void)snprintf(want(&delta, 0, i, yggdrasil_device_v1_LinkValue_text_tag)->kind.text, 65, "%064u", i);
    }
    send_delta(&delta);
    report_t report = next_report();
    CHECK(report.version == UINT64_MAX);
    CHECK_EQ(report.states_count, 8);
    for (size_t i = 0; i < 8; i++) {
        CHECK_EQ(report.states[i].status, YGG_STATUS_OK);
        with += report.states[i].has_value ? 1U : 0U;
    }
    CHECK(with >= 1 && with < 8);
    for (report = next_report(); report.states_count > 0; report = next_report()) {
        CHECK_EQ(report.version, 0);
        followed += report.states_count;
    }
    CHECK_EQ(followed, YGG_COUNT(labels));
    fake_free(&fake);
}

static void a_delta_out_of_order_ends_the_session(void)
{
    for (int round = 0; round < 5; round++) {
        delta_t delta = {.version = round == 3 ? 0 : 1};

        prepare();
        fake.features_refused = round == 0;
        CHECK_EQ(fake_start(&fake), YGG_OK);
        if (round != 1) {
            fake_activate(&fake);
        } else {
            fake_step(&fake); /* Before the Welcome. */
        }
        desire_bool(&delta, YGG_SIM_LED, 0, true);
        delta.entries_count = round == 2 ? 0 : 1;
        if (round == 4) { /* Nine entries; the struct holds eight. */
            static const uint8_t nine[] = {8, 1, 18, 0, 18, 0, 18, 0, 18, 0, 18, 0, 18, 0, 18, 0, 18, 0, 18, 0};
            fake_send_raw(&fake, YGG_BODY_TWIN_DELTA, nine, sizeof nine);
        } else {
            send_delta(&delta);
        }
        fake_step(&fake);
        yggdrasil_device_v1_Goodbye goodbye = yggdrasil_device_v1_Goodbye_init_zero;
        CHECK(fake_find_message(&fake, YGG_BODY_GOODBYE, yggdrasil_device_v1_Goodbye_fields, &goodbye));
        CHECK_EQ(goodbye.code, yggdrasil_device_v1_GoodbyeCode_GOODBYE_CODE_PROTOCOL_ERROR);
        CHECK(!fake.board.led_on);
        fake_free(&fake);
    }
}

/* --- other capabilities ------------------------------------------------------------------------------------------- */

static void a_delta_that_crosses_an_update_uses_the_old_document(void)
{
    const yggdrasil_device_v1_CapabilityUpdateAck known = {.send_capabilities = false};
    const yggdrasil_device_v1_ContractNotice contract = {.revision = 2};

    begin();
    CHECK_EQ(ygg_agent_update(&fake.agent, &ygg_sim_extra_document), YGG_OK);
    fake_step(&fake);
    CHECK_EQ(fake.agent.state, YGG_STATE_UPDATING);
    delta_t delta = {.version = 4};
    desire_int(&delta, YGG_SIM_LED, 1, 12);
    desire_int(&delta, YGG_SIM_LIGHT, 0, 12);
    send_delta(&delta);
    report_t report = next_report();
    CHECK_EQ(report.version, 4);
    CHECK_EQ(report.states[0].value.kind.integer, 12);
    CHECK_EQ(report.states[1].status, YGG_STATUS_NOT_FOUND);         /* Not in the old document. */
    CHECK_EQ(ygg_agent_changed(&fake.agent, YGG_SIM_LIGHT), YGG_OK); /* By the new document. */
    CHECK(no_report());
    fake_send(&fake, YGG_BODY_CAPABILITY_UPDATE_ACK, yggdrasil_device_v1_CapabilityUpdateAck_fields, &known);
    fake_send(&fake, YGG_BODY_CONTRACT, yggdrasil_device_v1_ContractNotice_fields, &contract);
    report = next_report();
    CHECK_EQ(report.states_count, 7);
    CHECK(report.complete);
    fake_free(&fake);
}

static void a_write_that_ends_after_an_update_does_not_use_its_old_index(void)
{
    const struct ygg_document other = {.capabilities = &ygg_sim_document.capabilities[YGG_SIM_SIREN], .count = 1};
    const yggdrasil_device_v1_CapabilityUpdateAck known = {.send_capabilities = false};
    const yggdrasil_device_v1_ContractNotice contract = {.revision = 2};
    const struct ygg_answer done = {.status = YGG_STATUS_OK};

    begin();
    fake.driver_result = YGG_ERR_AGAIN;
    send_brightness(4, 12);
    CHECK(no_report());
    uint32_t handle = fake.last_call.handle;
    fake.driver_result = YGG_OK;
    CHECK_EQ(ygg_agent_update(&fake.agent, &other), YGG_OK);
    fake_step(&fake);
    fake_send(&fake, YGG_BODY_CAPABILITY_UPDATE_ACK, yggdrasil_device_v1_CapabilityUpdateAck_fields, &known);
    fake_send(&fake, YGG_BODY_CONTRACT, yggdrasil_device_v1_ContractNotice_fields, &contract);
    CHECK_EQ(next_report().states_count, 1);
    CHECK_EQ(ygg_agent_complete(&fake.agent, handle, &done), YGG_OK);
    fake.now_ms += 1000;
    const report_t report = next_report();
    CHECK_EQ(report.version, 0);
    fake_free(&fake);
}

/* --- a slow driver
 * ---------------------------------------------------------------------------------------------------- */

static void a_slow_write_is_answered_when_it_ends(void)
{
    const struct ygg_answer failed = {.status = YGG_STATUS_HARDWARE};
    delta_t delta = {.version = 8};

    begin();
    fake.driver_result = YGG_ERR_AGAIN;
    desire_int(&delta, YGG_SIM_LED, 1, 60);
    desire_int(&delta, YGG_SIM_LED, 1, 101); /* Refused and reported immediately. */
    send_delta(&delta);
    report_t report = next_report();
    CHECK_EQ(report.states_count, 1);
    CHECK_EQ(report.states[0].status, YGG_STATUS_INVALID_ARGUMENT);
    uint32_t handle = fake.agent.next_handle - 1;
    fake.driver_result = YGG_OK; /* Reads are immediate from here on. */
    CHECK_EQ(ygg_agent_complete(&fake.agent, handle + 1,
                                &(struct ygg_answer){.status = YGG_STATUS_OK, .count = 1, .values = {ygg_int(100)}}),
             YGG_OK);
    CHECK_EQ(next_report().states[0].value.kind.integer, 100); /* The current value of the refused entry. */
    CHECK_EQ(ygg_agent_complete(&fake.agent, handle, &failed), YGG_OK);
    report = next_report();
    CHECK_EQ(report.version, 8);
    CHECK_EQ(report.states_count, 1);
    CHECK_EQ(report.states[0].status, YGG_STATUS_HARDWARE);
    CHECK_EQ(report.states[0].value.kind.integer, 100);
    CHECK_EQ(ygg_agent_complete(&fake.agent, handle, &failed), YGG_ERR_NOT_FOUND);
    fake_free(&fake);
}

static void a_late_write_is_reported_as_deadline(void)
{
    begin();
    fake.driver_result = YGG_ERR_AGAIN;
    send_brightness(8, 60);
    CHECK(no_report());
    fake.driver_result = YGG_OK;
    uint64_t asked_ms = fake.now_ms;
    for (int i = 0; i < 499; i++) { /* The bridge stays connected meanwhile. */
        fake_send_raw(&fake, YGG_BODY_PONG, "", 0);
        fake_run_until(&fake, fake.now_ms + 10);
    }
    CHECK(no_report());
    fake_run_until(&fake, asked_ms + 5000);
    const report_t report = next_report();
    CHECK_EQ(report.version, 8);
    CHECK_EQ(report.states[0].status, YGG_STATUS_DEADLINE);
    CHECK_EQ(report.states[0].value.kind.integer, 100); /* The current value. */
    fake_free(&fake);
}

static void slow_values_are_reported_one_by_one_and_complete_last(void)
{
    unsigned states = 0;
    bool complete = false;

    prepare();
    CHECK_EQ(fake_start(&fake), YGG_OK);
    fake.driver_result = YGG_ERR_AGAIN;
    fake_negotiate(&fake, 0);
    for (int i = 0; i < 7; i++) {
        const struct ygg_answer slow = {
            .status = YGG_STATUS_OK,
            .count = 1,
            .values = {fake.last_call.member == 1 && fake.last_call.capability == YGG_SIM_LED ? ygg_int(9)
                                                                                              : ygg_bool(true)}};

        CHECK(no_report());
        CHECK_EQ(ygg_agent_complete(&fake.agent, fake.last_call.handle, &slow), YGG_OK);
        CHECK(!complete);
        const report_t report = next_report();
        CHECK_EQ(report.states_count, 1);
        CHECK(report.states[0].has_value);
        states++;
        complete = next_report().complete;
    }
    CHECK_EQ(states, 7);
    CHECK(complete);
    fake_free(&fake);
}

static void a_late_value_is_omitted(void)
{
    begin();
    fake.driver_result = YGG_ERR_AGAIN;
    CHECK_EQ(ygg_agent_changed(&fake.agent, YGG_SIM_SIREN), YGG_OK);
    CHECK(no_report());
    for (int i = 0; i < 500; i++) {
        fake_send_raw(&fake, YGG_BODY_PONG, "", 0);
        fake_run_until(&fake, fake.now_ms + 10);
    }
    const report_t report = next_report();
    CHECK_EQ(report.states_count, 1);
    CHECK(is_state(&report.states[0], YGG_SIM_SIREN, 0) && !report.states[0].has_value);
    CHECK_EQ(report.states[0].status, YGG_STATUS_OK);
    fake_free(&fake);
}

static void a_board_with_too_many_calls_is_busy_and_reports_later(void)
{
    const struct ygg_answer done = {.status = YGG_STATUS_OK};
    char call_id[16];

    begin();
    fake.driver_result = YGG_ERR_AGAIN;
    for (int i = 0; i < YGG_CALLS_MAX; i++) {
        (void)snprintf(call_id, sizeof call_id, "c%d", i);
        fake_invoke(&fake, call_id, YGG_SIM_COUNTER, YGG_OPERATION_ACTION, 0, 1, (const int64_t[]){1});
    }
    send_brightness(5, 60);
    report_t report = next_report();
    CHECK_EQ(report.version, 5);
    CHECK_EQ(report.states[0].status, YGG_STATUS_BUSY);
    CHECK(!report.states[0].has_value);
    fake.driver_result = YGG_OK;
    CHECK_EQ(ygg_agent_complete(&fake.agent, fake.last_call.handle, &done), YGG_OK);
    report = next_report();
    CHECK_EQ(report.version, 0);
    CHECK_EQ(report.states_count, 2);
    fake_free(&fake);
}

static void writes_of_a_lost_session_are_reported_in_the_next(void)
{
    const struct ygg_answer done = {.status = YGG_STATUS_OK};

    begin();
    fake.driver_result = YGG_ERR_AGAIN;
    send_brightness(5, 60);
    CHECK(no_report());
    uint32_t handle = fake.last_call.handle;
    fake.driver_result = YGG_OK;
    fake.at_end = YGG_ERR_CLOSED;
    fake_step(&fake);
    fake_drain(&fake);
    fake_negotiate(&fake, 0);
    CHECK(next_report().complete);
    CHECK_EQ(ygg_agent_complete(&fake.agent, handle, &done), YGG_OK);
    fake.now_ms += 1000;
    const report_t report = next_report();
    CHECK_EQ(report.version, 0); /* This session has sent no delta. */
    CHECK_EQ(report.states_count, 2);
    fake_free(&fake);
}

void suite_twin(void)
{
    RUN(a_contract_triggers_a_full_report);
    RUN(a_device_without_settable_properties_reports_complete);
    RUN(a_report_is_split_to_the_sessions_frames);
    RUN(a_report_waits_for_room);
    RUN(a_value_that_violates_the_tables_is_omitted);
    RUN(only_capabilities_that_a_call_may_change_are_reported);
    RUN(changes_are_batched_into_few_reports);
    RUN(the_end_of_blinking_is_reported);
    RUN(without_the_feature_nothing_is_reported);
    RUN(a_delta_is_written_and_read_back);
    RUN(failed_entries_have_a_status_and_the_rest_is_written);
    RUN(a_desired_text_reaches_the_driver_whole);
    RUN(values_that_do_not_fit_an_answer_follow);
    RUN(a_delta_out_of_order_ends_the_session);
    RUN(a_delta_that_crosses_an_update_uses_the_old_document);
    RUN(a_write_that_ends_after_an_update_does_not_use_its_old_index);
    RUN(a_slow_write_is_answered_when_it_ends);
    RUN(a_late_write_is_reported_as_deadline);
    RUN(slow_values_are_reported_one_by_one_and_complete_last);
    RUN(a_late_value_is_omitted);
    RUN(a_board_with_too_many_calls_is_busy_and_reports_later);
    RUN(writes_of_a_lost_session_are_reported_in_the_next);
}
