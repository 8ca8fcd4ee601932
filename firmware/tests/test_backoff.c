/* Reconnect delays grow and are spread. */
#include "core/backoff.h"
#include "tests/check.h"
#include "tests/fake.h"
#include "tests/suites.h"

static struct fake fake;

static void the_bound_doubles_up_to_the_maximum(void)
{
    CHECK_EQ(ygg_backoff_bound_ms(100, 8000, 0), 100);
    CHECK_EQ(ygg_backoff_bound_ms(100, 8000, 1), 200);
    CHECK_EQ(ygg_backoff_bound_ms(100, 8000, 6), 6400);
    CHECK_EQ(ygg_backoff_bound_ms(100, 8000, 7), 8000);
    CHECK_EQ(ygg_backoff_bound_ms(100, 8000, 31), 8000);
    CHECK_EQ(ygg_backoff_bound_ms(100, 8000, 255), 8000);
    CHECK_EQ(ygg_backoff_bound_ms(4000000000U, 4000000000U, 20), 4000000000U);
}

static void the_delay_covers_the_whole_range(void)
{
    CHECK_EQ(ygg_backoff_ms(8000, 0), 0);
    CHECK_EQ(ygg_backoff_ms(8000, UINT32_MAX), 8000);
    CHECK_EQ(ygg_backoff_ms(UINT32_MAX, UINT32_MAX), UINT32_MAX);
    CHECK_EQ(ygg_backoff_ms(0, UINT32_MAX), 0);
}

static uint64_t delay_after_failure(unsigned failures, uint64_t seed)
{
    fake_init(&fake);
    fake.random = seed * 2654435761U + 1;
    fake.connect_result = YGG_ERR_IO;
    CHECK_EQ(fake_start(&fake), YGG_OK);
    for (unsigned i = 0; i < failures; i++) {
        fake.now_ms = ygg_agent_wake_ms(&fake.agent);
        ygg_agent_step(&fake.agent);
    }
    fake_free(&fake);
    return ygg_agent_wake_ms(&fake.agent) - fake.now_ms;
}

/* A thousand devices lose the bridge at the same time and fail to reconnect four times. */
static void a_storm_is_spread_over_the_whole_bound(void)
{
    unsigned tenths[10] = {0};
    unsigned at_once = 0;

    for (uint64_t seed = 1; seed <= 1000; seed++) {
        uint64_t delay = delay_after_failure(5, seed); /* Bound: 100 × 2^4. */

        CHECK(delay <= 1600);
        tenths[delay >= 1600 ? 9 : delay / 160]++;
        at_once += delay == 800;
    }
    for (int i = 0; i < 10; i++) {
        CHECK(tenths[i] > 60 && tenths[i] < 150);
    }
    CHECK(at_once < 10);
}

static void each_failure_doubles_the_mean(void)
{
    uint64_t sums[4] = {0};

    for (uint64_t seed = 1; seed <= 400; seed++) {
        for (unsigned i = 0; i < 4; i++) {
            sums[i] += delay_after_failure(i + 1, seed);
        }
    }
    for (int i = 0; i < 3; i++) {
        CHECK(sums[i + 1] > sums[i] * 16 / 10 && sums[i + 1] < sums[i] * 24 / 10);
    }
}

static void without_randomness_the_delay_is_the_bound(void)
{
    fake_init(&fake);
    fake.random_fails = true;
    fake.connect_result = YGG_ERR_IO;
    CHECK_EQ(fake_start(&fake), YGG_OK);
    ygg_agent_step(&fake.agent);
    CHECK_EQ(ygg_agent_wake_ms(&fake.agent) - fake.now_ms, 100);
    fake_free(&fake);
}

/* Ends an active session of `lasted_ms` after `failures` failed attempts. Returns the attempts that set the next
 * bound. */
static uint8_t attempts_after_session(unsigned failures, uint64_t lasted_ms)
{
    fake_init(&fake);
    fake.connect_result = YGG_ERR_IO;
    CHECK_EQ(fake_start(&fake), YGG_OK);
    for (unsigned i = 0; i < failures; i++) {
        fake.now_ms = ygg_agent_wake_ms(&fake.agent);
        ygg_agent_step(&fake.agent);
    }
    fake.connect_result = YGG_OK;
    fake_activate(&fake);
    fake.now_ms += lasted_ms;
    fake.at_end = YGG_ERR_CLOSED;
    ygg_agent_step(&fake.agent);
    CHECK_EQ(fake.agent.state, YGG_STATE_BACKOFF);
    fake_free(&fake);
    return fake.agent.attempt;
}

static void only_a_long_session_resets_the_delays(void)
{
    CHECK_EQ(attempts_after_session(3, 100), 4);
    CHECK_EQ(attempts_after_session(3, 8001), 1);
}

void suite_backoff(void)
{
    RUN(the_bound_doubles_up_to_the_maximum);
    RUN(the_delay_covers_the_whole_range);
    RUN(a_storm_is_spread_over_the_whole_bound);
    RUN(each_failure_doubles_the_mean);
    RUN(without_randomness_the_delay_is_the_bound);
    RUN(only_a_long_session_resets_the_delays);
}
