/* The simulated board implements its own tables. */
#include "boards/sim/board.h"
#include "tests/check.h"
#include "tests/fake.h"
#include "tests/suites.h"

static struct fake fake;

static bool led(void)
{
    return ygg_sim_get(&fake.board, YGG_SIM_LED, 0).as.boolean;
}

static struct ygg_answer act(uint8_t capability, int64_t first, int64_t second)
{
    struct ygg_call call = {.operation = YGG_OPERATION_ACTION, .capability = capability};
    struct ygg_answer answer = {.status = YGG_STATUS_OK};

    call.arguments[0] = ygg_int(first);
    call.arguments[1] = ygg_int(second);
    CHECK_EQ(ygg_sim_driver.call(&fake.board, &call, &answer), YGG_OK);
    CHECK_EQ(answer.status, YGG_STATUS_OK);
    return answer;
}

static void blinking_inverts_and_restores_the_led(void)
{
    for (int resting = 0; resting < 2; resting++) {
        fake_init(&fake);
        fake.board.led_on = resting == 1;
        CHECK_EQ(act(YGG_SIM_LED, 2, 100).values[0].as.integer, 2);
        static const bool inverted[] = {true, false, true, false, false, false};
        for (size_t i = 0; i < 6; i++) {
            CHECK_EQ(led(), inverted[i] != (resting == 1));
            fake.now_ms += 50;
        }
        fake_free(&fake);
    }
}

static void blinks_are_counted_since_boot(void)
{
    fake_init(&fake);
    CHECK_EQ(act(YGG_SIM_LED, 3, 100).values[0].as.integer, 3);
    CHECK_EQ(act(YGG_SIM_LED, 20, 5000).values[0].as.integer, 23);
    CHECK_EQ(fake.board.action_runs[YGG_SIM_LED][0], 2);
    fake_free(&fake);
}

static void switching_the_led_ends_the_blinking(void)
{
    const struct ygg_value on = ygg_bool(true);

    fake_init(&fake);
    CHECK_EQ(fake_start(&fake), YGG_OK);
    (void)act(YGG_SIM_LED, 20, 1000);
    ygg_sim_set(&fake.board, YGG_SIM_LED, 0, &on);
    for (int i = 0; i < 30; i++) {
        CHECK(led());
        fake.now_ms += 777;
    }
    fake_free(&fake);
}

static void the_counter_counts(void)
{
    fake_init(&fake);
    CHECK_EQ(act(YGG_SIM_COUNTER, 5, 0).values[0].as.integer, 5);
    CHECK_EQ(act(YGG_SIM_COUNTER, 7, 0).values[0].as.integer, 12);
    CHECK_EQ(ygg_sim_get(&fake.board, YGG_SIM_COUNTER, 0).as.integer, 12);
    fake_free(&fake);
}

static void readings_above_the_threshold_are_events(void)
{
    const struct ygg_value warm = ygg_double(75.0);
    const struct ygg_value hot = ygg_double(75.5);

    fake_init(&fake);
    CHECK_EQ(fake_start(&fake), YGG_OK);
    CHECK(ygg_sim_get(&fake.board, YGG_SIM_TEMPERATURE, 0).as.number == 23.5);
    ygg_sim_set(&fake.board, YGG_SIM_TEMPERATURE, 0, &warm);
    CHECK_EQ(fake.agent.event_sequence, 0);
    ygg_sim_set(&fake.board, YGG_SIM_TEMPERATURE, 0, &hot);
    CHECK_EQ(fake.agent.event_sequence, 1);
    fake_free(&fake);
}

static void only_a_pin_that_changes_is_an_event(void)
{
    const struct ygg_value high = ygg_bool(true);

    fake_init(&fake);
    CHECK_EQ(fake_start(&fake), YGG_OK);
    ygg_sim_set(&fake.board, YGG_SIM_GPIO, 2, &high);
    ygg_sim_set(&fake.board, YGG_SIM_GPIO, 2, &high);
    CHECK_EQ(fake.agent.event_sequence, 1);
    CHECK(ygg_sim_get(&fake.board, YGG_SIM_GPIO, 2).as.boolean);
    CHECK(!ygg_sim_get(&fake.board, YGG_SIM_GPIO, 3).as.boolean);
    fake_free(&fake);
}

void suite_board(void)
{
    RUN(blinking_inverts_and_restores_the_led);
    RUN(blinks_are_counted_since_boot);
    RUN(switching_the_led_ends_the_blinking);
    RUN(the_counter_counts);
    RUN(readings_above_the_threshold_are_events);
    RUN(only_a_pin_that_changes_is_an_event);
}
