/* Calls are executed once, however often they are repeated, and always answered. */
#include <stdio.h>
#include <string.h>

#include "tests/check.h"
#include "tests/fake.h"
#include "tests/suites.h"

static struct fake fake;

static void begin(void)
{
    fake_init(&fake);
    CHECK_EQ(fake_start(&fake), YGG_OK);
    fake_activate(&fake);
}

static void break_and_return(void)
{
    fake.at_end = YGG_ERR_CLOSED;
    fake_step(&fake);
    CHECK_EQ(fake.agent.state, YGG_STATE_BACKOFF);
    fake_drain(&fake);
    fake_negotiate(&fake, 0);
    struct ygg_envelope hello;
    CHECK(fake_take(&fake, &hello));
}

static void add(const char *call_id)
{
    fake_invoke(&fake, call_id, YGG_SIM_COUNTER, YGG_OPERATION_ACTION, 0, 1, (const int64_t[]){1});
}

static void a_call_acts_and_answers(void)
{
    begin();
    fake_invoke(&fake, "w", YGG_SIM_LED, YGG_OPERATION_WRITE, 1, 1, (const int64_t[]){40});
    yggdrasil_device_v1_Result result = fake_result(&fake);
    CHECK_EQ(result.status, YGG_STATUS_OK);
    CHECK_EQ(result.values_count, 0);
    CHECK_EQ(fake.board.led_percent, 40);
    fake_invoke(&fake, "r", YGG_SIM_TEMPERATURE, YGG_OPERATION_READ, 0, 0, NULL);
    result = fake_result(&fake);
    CHECK_EQ(result.values_count, 1);
    CHECK(result.values[0].value.kind.number == 23.5);
    fake_free(&fake);
}

static void a_refused_call_reaches_no_hardware(void)
{
    begin();
    fake_invoke(&fake, "c", YGG_SIM_COUNTER, YGG_OPERATION_ACTION, 0, 1, (const int64_t[]){1001});
    yggdrasil_device_v1_Result result = fake_result(&fake);
    CHECK_EQ(result.status, YGG_STATUS_INVALID_ARGUMENT);
    CHECK_TEXT(result.message, "argument out of range");
    CHECK_EQ(fake.agent.calls_done, 0);
    CHECK_EQ(fake.board.tally, 0);
    fake_free(&fake);
}

static void a_repeated_call_is_answered_and_not_executed_again(void)
{
    begin();
    for (int i = 0; i < 5; i++) {
        add("same");
        yggdrasil_device_v1_Result result = fake_result(&fake);
        CHECK_TEXT(result.call_id, "same");
        CHECK_EQ(result.values[0].value.kind.integer, 1);
    }
    CHECK_EQ(fake.board.tally, 1);
    CHECK_EQ(fake.agent.calls_repeated, 4);
    fake_free(&fake);
}

static void a_call_repeated_in_the_next_session_is_not_executed_again(void)
{
    begin();
    add("same");
    fake_step(&fake); /* Executed; the answer is lost with the connection. */
    break_and_return();
    struct ygg_envelope envelope;
    CHECK(!fake_take(&fake, &envelope)); /* Not requested in this session yet. */
    add("same");
    CHECK_EQ(fake_result(&fake).values[0].value.kind.integer, 1);
    CHECK_EQ(fake.board.tally, 1);
    fake_free(&fake);
}

/* The answer had no room, and the session that requested it is gone. */
static void an_unsent_answer_is_not_sent_to_another_session(void)
{
    const struct ygg_answer answer = {.status = YGG_STATUS_HARDWARE,
                                      .message = "more bytes than the events leave over"};
    const struct ygg_value hot = ygg_double(80.0);
    struct ygg_envelope envelope;

    begin();
    fake.driver_result = YGG_ERR_AGAIN;
    add("slow");
    fake_step(&fake);
    fake.write_room = 0;
    for (int i = 0; i < 400; i++) { /* Pongs fill the send buffer up to the room of a reply, events fill the rest. */
        fake_send_raw(&fake, YGG_BODY_PING, "\x09\x01\x02\x03\x04\x05\x06\x07\x08", 9);
    }
    fake_step(&fake);
    for (int i = 0; i < 60; i++) {
        CHECK_EQ(ygg_agent_emit(&fake.agent, YGG_SIM_TEMPERATURE, 0, &hot, 1), YGG_OK);
    }
    fake_step(&fake);
    CHECK_EQ(ygg_agent_complete(&fake.agent, fake.last_call.handle, &answer), YGG_OK);
    fake_step(&fake);
    fake_run_until(&fake, fake.now_ms + 8000); /* The peer reads nothing: the connection is closed. */
    CHECK(fake.agent.state != YGG_STATE_ACTIVE);
    fake.write_room = SIZE_MAX;
    fake_run_until(&fake, ygg_agent_wake_ms(&fake.agent));
    fake_drain(&fake);
    fake_negotiate(&fake, 0);
    while (fake_take(&fake, &envelope)) {
        CHECK(envelope.number != YGG_BODY_RESULT);
    }
    add("slow");
    fake_step(&fake);
    yggdrasil_device_v1_Result result = yggdrasil_device_v1_Result_init_zero;
    CHECK(fake_find_message(&fake, YGG_BODY_RESULT, yggdrasil_device_v1_Result_fields, &result));
    CHECK_TEXT(result.call_id, "slow");
    fake_free(&fake);
}

static void an_id_that_begins_like_another_is_another_call(void)
{
    begin();
    add("call-1");
    CHECK_EQ(fake_result(&fake).values[0].value.kind.integer, 1);
    add("call-12");
    CHECK_EQ(fake_result(&fake).values[0].value.kind.integer, 2);
    add("call-");
    CHECK_EQ(fake_result(&fake).values[0].value.kind.integer, 3);
    fake_free(&fake);
}

/* The memory keeps the newest answers, at least thirty of this size in 2 KB. */
static void the_newest_answers_are_remembered(void)
{
    char call_id[64];

    begin();
    for (int i = 0; i < 500; i++) {
        (void)snprintf(call_id, sizeof call_id, "10c1d353-ad3e-4f91-a413-ab4bee88e%03d", i);
        add(call_id);
        CHECK_EQ(fake_result(&fake).status, YGG_STATUS_OK);
    }
    for (int i = 470; i < 500; i++) {
        (void)snprintf(call_id, sizeof call_id, "10c1d353-ad3e-4f91-a413-ab4bee88e%03d", i);
        add(call_id);
        CHECK_EQ(fake_result(&fake).values[0].value.kind.integer, i + 1);
    }
    CHECK_EQ(fake.board.tally, 500);
    fake_free(&fake);
}

static void a_driver_may_answer_later(void)
{
    struct ygg_answer answer = {.status = YGG_STATUS_OK, .count = 1};
    struct ygg_envelope envelope;

    begin();
    fake.driver_result = YGG_ERR_AGAIN;
    add("slow");
    fake_step(&fake);
    CHECK(!fake_take(&fake, &envelope));
    add("slow"); /* Repeated meanwhile: still one call. */
    fake_step(&fake);
    CHECK_EQ(fake.agent.calls_done, 1);
    answer.values[0] = ygg_int(77);
    CHECK_EQ(ygg_agent_complete(&fake.agent, fake.last_call.handle, &answer), YGG_OK);
    CHECK_EQ(ygg_agent_wake_ms(&fake.agent), fake.now_ms);
    CHECK_EQ(fake_result(&fake).values[0].value.kind.integer, 77);
    CHECK_EQ(ygg_agent_complete(&fake.agent, fake.last_call.handle, &answer), YGG_ERR_NOT_FOUND);
    fake.driver_result = YGG_OK;
    add("slow");
    CHECK_EQ(fake_result(&fake).values[0].value.kind.integer, 77);
    CHECK_EQ(fake.board.tally, 0);
    fake_free(&fake);
}

static void a_late_driver_yields_a_deadline_result(void)
{
    const struct ygg_answer answer = {.status = YGG_STATUS_OK};

    begin();
    fake.driver_result = YGG_ERR_AGAIN;
    add("late");
    fake_run_until(&fake, fake.now_ms + 999);
    fake_drain(&fake);
    fake.now_ms += 1;
    yggdrasil_device_v1_Result result = fake_result(&fake);
    CHECK_TEXT(result.call_id, "late");
    CHECK_EQ(result.status, YGG_STATUS_DEADLINE);
    CHECK_EQ(ygg_agent_complete(&fake.agent, fake.last_call.handle, &answer), YGG_ERR_NOT_FOUND);
    fake_free(&fake);
}

static void an_answer_between_sessions_waits_for_a_repeat(void)
{
    const struct ygg_answer answer = {.status = YGG_STATUS_OK};
    struct ygg_envelope envelope;

    begin();
    fake.driver_result = YGG_ERR_AGAIN;
    add("slow");
    fake_step(&fake);
    break_and_return();
    CHECK_EQ(ygg_agent_complete(&fake.agent, fake.last_call.handle, &answer), YGG_OK);
    fake_step(&fake);
    CHECK(!fake_take(&fake, &envelope));
    add("slow");
    CHECK_EQ(fake_result(&fake).status, YGG_STATUS_OK);
    CHECK_EQ(fake.agent.calls_done, 1);
    fake_free(&fake);
}

static void a_pending_call_repeated_in_the_next_session_is_answered_there(void)
{
    const struct ygg_answer answer = {.status = YGG_STATUS_OK};

    begin();
    fake.driver_result = YGG_ERR_AGAIN;
    add("slow");
    fake_step(&fake);
    break_and_return();
    add("slow");
    fake_step(&fake);
    CHECK_EQ(ygg_agent_complete(&fake.agent, fake.last_call.handle, &answer), YGG_OK);
    CHECK_TEXT(fake_result(&fake).call_id, "slow");
    CHECK_EQ(fake.agent.calls_done, 1);
    fake_free(&fake);
}

static void too_many_calls_in_flight_are_busy_and_repeatable(void)
{
    char call_id[64];
    const struct ygg_answer answer = {.status = YGG_STATUS_OK};

    begin();
    fake.driver_result = YGG_ERR_AGAIN;
    for (int i = 0; i < YGG_CALLS_MAX; i++) {
        (void)snprintf(call_id, sizeof call_id, "c%d", i);
        add(call_id);
    }
    add("more");
    yggdrasil_device_v1_Result result = fake_result(&fake);
    CHECK_TEXT(result.call_id, "more");
    CHECK_EQ(result.status, YGG_STATUS_BUSY);
    CHECK_EQ(ygg_agent_complete(&fake.agent, fake.last_call.handle, &answer), YGG_OK);
    CHECK_EQ(fake_result(&fake).status, YGG_STATUS_OK);
    fake.driver_result = YGG_OK;
    add("more"); /* BUSY was not remembered: nothing was done. */
    CHECK_EQ(fake_result(&fake).status, YGG_STATUS_OK);
    CHECK_EQ(fake.board.tally, 1);
    fake_free(&fake);
}

static void a_failing_driver_is_a_hardware_error(void)
{
    begin();
    fake.driver_result = YGG_ERR_IO;
    add("x");
    CHECK_EQ(fake_result(&fake).status, YGG_STATUS_HARDWARE);
    fake_free(&fake);
}

/* Eight texts of 64 bytes do not fit a frame of 256. */
static void an_oversized_result_is_an_error(void)
{
    static const uint8_t text[64] = "0123456789012345678901234567890123456789012345678901234567890123";
    yggdrasil_device_v1_Welcome welcome = fake_welcome(false);
    const yggdrasil_device_v1_ContractNotice contract = {.revision = 1};

    fake_init(&fake);
    CHECK_EQ(fake_start(&fake), YGG_OK);
    fake_step(&fake);
    welcome.device_tx_frame_bytes = 256;
    fake_send(&fake, YGG_BODY_WELCOME, yggdrasil_device_v1_Welcome_fields, &welcome);
    fake_send(&fake, YGG_BODY_CONTRACT, yggdrasil_device_v1_ContractNotice_fields, &contract);
    fake_step(&fake);
    fake_drain(&fake);
    fake.canned = (struct ygg_answer){.status = YGG_STATUS_OK, .count = 8};
    for (int i = 0; i < 8; i++) {
        fake.canned.values[i] = (struct ygg_value){.type = YGG_TYPE_STRING, .as = {.bytes = {text, sizeof text}}};
    }
    add("big");
    yggdrasil_device_v1_Result result = fake_result(&fake);
    CHECK_EQ(result.status, YGG_STATUS_HARDWARE);
    CHECK_TEXT(result.message, "the result is too large");
    fake_free(&fake);
}

static void a_text_is_sent_up_to_its_first_zero_byte(void)
{
    begin();
    fake.canned = (struct ygg_answer){.status = YGG_STATUS_OK, .count = 2};
    fake.canned.values[0] = (struct ygg_value){.type = YGG_TYPE_STRING,
                                               .as = {.bytes = {(const uint8_t *)"on\0off", 6}}};
    fake.canned.values[1] = (struct ygg_value){.type = YGG_TYPE_BYTES,
                                               .as = {.bytes = {(const uint8_t *)"on\0off", 6}}};
    add("zero");
    yggdrasil_device_v1_Result result = fake_result(&fake);
    CHECK_TEXT(result.values[0].value.kind.text, "on");
    CHECK_EQ(result.values[1].value.kind.data.size, 6);
    fake_free(&fake);
}

static void the_largest_result_is_sent_whole(void)
{
    static const uint8_t text[64] = "0123456789012345678901234567890123456789012345678901234567890123";

    begin();
    fake.canned = (struct ygg_answer){.status = YGG_STATUS_HARDWARE, .count = 8};
    fake.canned.message = "a message of exactly sixty-three bytes, as long as it may get .";
    CHECK_EQ(strlen(fake.canned.message), 63);
    for (int i = 0; i < 8; i++) {
        fake.canned.values[i] = (struct ygg_value){.type = YGG_TYPE_STRING, .as = {.bytes = {text, sizeof text}}};
    }
    add("123456789012345678901234567890123456");
    yggdrasil_device_v1_Result result = fake_result(&fake);
    CHECK_EQ(strlen(result.call_id), 36);
    CHECK_EQ(result.values_count, 8);
    CHECK_EQ(result.values[7].index, 7);
    CHECK_EQ(strlen(result.values[7].value.kind.text), 64);
    fake_free(&fake);
}

/* Many calls while the peer reads nothing: afterwards each is answered exactly once and in order. */
static void answers_wait_for_a_slow_reader(void)
{
    char call_id[64];
    int answered = 0;

    begin();
    fake.write_room = 0;
    for (int i = 0; i < 300; i++) {
        (void)snprintf(call_id, sizeof call_id, "c%03d", i);
        add(call_id);
    }
    fake_step(&fake);
    for (int round = 0; round < 10000 && answered < 300; round++) {
        fake.write_room += 100;
        fake_step(&fake);
        yggdrasil_device_v1_Result result = yggdrasil_device_v1_Result_init_zero;
        while (fake_take_message(&fake, YGG_BODY_RESULT, yggdrasil_device_v1_Result_fields, &result)) {
            (void)snprintf(call_id, sizeof call_id, "c%03d", answered);
            answered++;
            CHECK_TEXT(result.call_id, call_id);
            CHECK_EQ(result.values[0].value.kind.integer, answered);
        }
    }
    CHECK_EQ(answered, 300);
    CHECK_EQ(fake.board.tally, 300);
    fake_free(&fake);
}

/* Eight late answers of full size exceed the memory; none may be lost. */
static void an_answer_without_room_is_retried(void)
{
    static const uint8_t text[64] = {'x'};
    struct ygg_answer answer = {.status = YGG_STATUS_OK, .count = 8};
    uint32_t handles[4];
    char call_id[64];
    int done = 0;
    int answered = 0;

    begin();
    for (int i = 0; i < 8; i++) {
        answer.values[i] = (struct ygg_value){.type = YGG_TYPE_BYTES, .as = {.bytes = {text, sizeof text}}};
    }
    fake.driver_result = YGG_ERR_AGAIN;
    for (int i = 0; i < 4; i++) {
        (void)snprintf(call_id, sizeof call_id, "c%d", i);
        add(call_id);
        fake_step(&fake);
        handles[i] = fake.last_call.handle;
    }
    while (done < 4 && ygg_agent_complete(&fake.agent, handles[done], &answer) == YGG_OK) {
        done++;
    }
    CHECK(done > 1 && done < 4);
    CHECK_EQ(ygg_agent_complete(&fake.agent, handles[done], &answer), YGG_ERR_FULL);
    for (int round = 0; round < 4; round++) {
        while ((int)fake_result(&fake).status == YGG_STATUS_OK) {
            answered++;
        }
        while (done < 4 && ygg_agent_complete(&fake.agent, handles[done], &answer) == YGG_OK) {
            done++;
        }
    }
    CHECK_EQ(answered, 4);
    fake_free(&fake);
}

void suite_calls(void)
{
    RUN(a_call_acts_and_answers);
    RUN(a_refused_call_reaches_no_hardware);
    RUN(a_repeated_call_is_answered_and_not_executed_again);
    RUN(a_call_repeated_in_the_next_session_is_not_executed_again);
    RUN(an_unsent_answer_is_not_sent_to_another_session);
    RUN(an_id_that_begins_like_another_is_another_call);
    RUN(the_newest_answers_are_remembered);
    RUN(a_driver_may_answer_later);
    RUN(a_late_driver_yields_a_deadline_result);
    RUN(an_answer_between_sessions_waits_for_a_repeat);
    RUN(a_pending_call_repeated_in_the_next_session_is_answered_there);
    RUN(too_many_calls_in_flight_are_busy_and_repeatable);
    RUN(a_failing_driver_is_a_hardware_error);
    RUN(an_oversized_result_is_an_error);
    RUN(a_text_is_sent_up_to_its_first_zero_byte);
    RUN(the_largest_result_is_sent_whole);
    RUN(answers_wait_for_a_slow_reader);
    RUN(an_answer_without_room_is_retried);
}
