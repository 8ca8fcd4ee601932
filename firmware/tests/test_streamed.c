/* Streamed actions: many answers, the last of which is remembered. */
#include <string.h>

#include "tests/check.h"
#include "tests/fake.h"
#include "tests/suites.h"

enum { COUNT_UP = 1 };

static struct fake fake;

static void begin(void)
{
    fake_init(&fake);
    CHECK_EQ(fake_start(&fake), YGG_OK);
    fake_activate(&fake);
}

static void ask(const char *call_id, int64_t to)
{
    const int64_t arguments[] = {to, 20};

    fake_invoke(&fake, call_id, YGG_SIM_COUNTER, YGG_OPERATION_ACTION, COUNT_UP, 2, arguments);
    fake_step(&fake);
}

static void let_board_count(void)
{
    fake.now_ms = ygg_sim_wake_ms(&fake.board);
    ygg_sim_step(&fake.board);
}

static void each_answer_comes_in_order_and_the_last_ends_the_call(void)
{
    struct ygg_envelope envelope;

    begin();
    ask("up", 3);
    CHECK(!fake_take(&fake, &envelope));
    for (int64_t n = 1; n <= 3; n++) {
        uint64_t before = fake.now_ms;
        let_board_count();
        CHECK_EQ(fake.now_ms - before, 20);
        CHECK_EQ(ygg_agent_wake_ms(&fake.agent), fake.now_ms);
        yggdrasil_device_v1_Result result = fake_result(&fake);
        CHECK_TEXT(result.call_id, "up");
        CHECK_EQ(result.status, YGG_STATUS_OK);
        CHECK_EQ(result.values_count, 1);
        CHECK_EQ(result.values[0].value.kind.integer, n);
        CHECK_EQ(result.more, n < 3);
    }
    CHECK_EQ(ygg_sim_wake_ms(&fake.board), UINT64_MAX);
    CHECK_EQ(fake.agent.pending[0].handle, 0);
    fake_free(&fake);
}

static void a_repeat_gets_the_last_answer_without_a_new_run(void)
{
    begin();
    ask("up", 2);
    let_board_count();
    let_board_count();
    fake_step(&fake);
    fake_drain(&fake);
    ask("up", 2);
    yggdrasil_device_v1_Result result = fake_result(&fake);
    CHECK_EQ(result.values[0].value.kind.integer, 2);
    CHECK(!result.more);
    CHECK_EQ(fake.board.action_runs[YGG_SIM_COUNTER][COUNT_UP], 1);
    fake_free(&fake);
}

/* Answers go only to the session that requested them; a repeat receives the following ones. */
static void a_new_session_gets_answers_after_a_repeat(void)
{
    struct ygg_envelope envelope;

    begin();
    ask("up", 4);
    let_board_count();
    fake.at_end = YGG_ERR_CLOSED;
    fake_step(&fake);
    let_board_count(); /* 2, while there is no session. */
    CHECK_EQ(fake.agent.state, YGG_STATE_BACKOFF);
    uint64_t due = ygg_sim_wake_ms(&fake.board);
    fake_drain(&fake);
    fake_negotiate(&fake, 0);
    fake_drain(&fake);
    fake.now_ms = due > fake.now_ms ? due : fake.now_ms;
    ygg_sim_step(&fake.board); /* 3, in a session without a request. */
    fake_step(&fake);
    CHECK(!fake_take(&fake, &envelope) || envelope.number != YGG_BODY_RESULT);
    ask("up", 4);
    fake_drain(&fake);
    let_board_count();
    yggdrasil_device_v1_Result result = fake_result(&fake);
    CHECK_EQ(result.values[0].value.kind.integer, 4);
    CHECK(!result.more);
    CHECK_EQ(fake.board.action_runs[YGG_SIM_COUNTER][COUNT_UP], 1);
    fake_free(&fake);
}

static void a_stream_that_is_late_ends_with_the_deadline(void)
{
    begin();
    ask("up", 100); /* 2 s, but the call has 1 s. */
    fake_run_until(&fake, fake.now_ms + 999);
    fake_drain(&fake);
    fake.now_ms += 1;
    yggdrasil_device_v1_Result result = fake_result(&fake);
    CHECK_EQ(result.status, YGG_STATUS_DEADLINE);
    CHECK(!result.more);
    ygg_sim_step(&fake.board); /* The board learns that the call has ended and stops. */
    CHECK_EQ(ygg_sim_wake_ms(&fake.board), UINT64_MAX);
    fake_free(&fake);
}

static void more_requires_a_streamed_action_and_ok(void)
{
    struct ygg_answer more = {.status = YGG_STATUS_OK, .more = true};

    begin();
    fake.driver_result = YGG_ERR_AGAIN;
    fake_invoke(&fake, "add", YGG_SIM_COUNTER, YGG_OPERATION_ACTION, 0, 1, (const int64_t[]){1});
    fake_step(&fake);
    CHECK_EQ(ygg_agent_complete(&fake.agent, fake.last_call.handle, &more), YGG_ERR_ARGUMENT);
    ask("up", 3);
    more.status = YGG_STATUS_HARDWARE;
    CHECK_EQ(ygg_agent_complete(&fake.agent, fake.last_call.handle, &more), YGG_ERR_ARGUMENT);
    more.status = YGG_STATUS_OK;
    CHECK_EQ(ygg_agent_complete(&fake.agent, fake.last_call.handle, &more), YGG_OK);
    fake.driver_result = YGG_OK;
    fake.canned = more; /* A synchronous answer must be the last. */
    fake_step(&fake);
    fake_drain(&fake);
    ask("now", 3);
    CHECK_EQ(fake_result(&fake).status, YGG_STATUS_HARDWARE);
    fake_free(&fake);
}

static void a_streamed_answer_without_room_is_retried(void)
{
    uint64_t last = 0;

    begin();
    ask("up", 100);
    fake.board.counts[0].period_ms = 1; /* More than the send buffer holds. */
    fake.agent.pending[0].deadline_ms = UINT64_MAX;
    fake.write_room = 0;
    fake.config.tx_size = 300;
    for (int i = 0; i < 200; i++) {
        let_board_count();
    }
    CHECK(fake.board.counts[0].n < 60);
    fake.write_room = SIZE_MAX;
    while (fake.board.counts[0].handle != 0) {
        fake_step(&fake);
        let_board_count();
    }
    fake_step(&fake);
    yggdrasil_device_v1_Result result = yggdrasil_device_v1_Result_init_zero;
    while (fake_find_message(&fake, YGG_BODY_RESULT, yggdrasil_device_v1_Result_fields, &result)) {
        last++;
        CHECK_EQ(result.values[0].value.kind.integer, last);
        CHECK_EQ(result.more, last < 100);
    }
    CHECK_EQ(last, 100);
    fake_free(&fake);
}

static void a_busy_driver_may_be_called_again(void)
{
    begin();
    fake.canned = (struct ygg_answer){.status = YGG_STATUS_BUSY, .message = "not now"};
    ask("up", 2);
    CHECK_EQ(fake_result(&fake).status, YGG_STATUS_BUSY);
    fake.canned = (struct ygg_answer){0};
    ask("up", 2);
    let_board_count();
    CHECK_EQ(fake_result(&fake).values[0].value.kind.integer, 1);
    fake_free(&fake);
}

void suite_streamed(void)
{
    RUN(each_answer_comes_in_order_and_the_last_ends_the_call);
    RUN(a_repeat_gets_the_last_answer_without_a_new_run);
    RUN(a_new_session_gets_answers_after_a_repeat);
    RUN(a_stream_that_is_late_ends_with_the_deadline);
    RUN(more_requires_a_streamed_action_and_ok);
    RUN(a_streamed_answer_without_room_is_retried);
    RUN(a_busy_driver_may_be_called_again);
}
