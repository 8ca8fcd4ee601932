/* Telemetry is sent at most once, within the credit, and losses are counted. */
#include "tests/check.h"
#include "tests/fake.h"
#include "tests/suites.h"

static struct fake fake;

static const struct ygg_feature offered[] = {YGG_FEATURE_TELEMETRY};

static void begin(uint32_t credit)
{
    fake_init(&fake);
    fake.config.features = offered;
    fake.config.features_count = YGG_COUNT(offered);
    fake.credit = credit;
    CHECK_EQ(fake_start(&fake), YGG_OK);
}

static void sample(double celsius)
{
    const struct ygg_value value = ygg_double(celsius);

    CHECK_EQ(ygg_agent_sample(&fake.agent, YGG_SIM_TEMPERATURE, 0, &value), YGG_OK);
}

/* Takes the next sent telemetry; no samples at the end. */
static yggdrasil_device_v1_Telemetry take(void)
{
    static yggdrasil_device_v1_Telemetry telemetry;

    telemetry = (yggdrasil_device_v1_Telemetry)yggdrasil_device_v1_Telemetry_init_zero;
    if (!fake_find_message(&fake, YGG_BODY_TELEMETRY, yggdrasil_device_v1_Telemetry_fields, &telemetry)) {
        telemetry.samples_count = 0;
    }
    return telemetry;
}

static void grant(uint32_t frames)
{
    const yggdrasil_device_v1_Credit credit = {.telemetry = frames};

    fake_send(&fake, YGG_BODY_CREDIT, yggdrasil_device_v1_Credit_fields, &credit);
    fake_step(&fake);
}

static void a_sample_carries_its_property_and_age(void)
{
    begin(4);
    fake_activate(&fake);
    sample(21.5);
    fake.now_ms += 70;
    CHECK_EQ(ygg_agent_wake_ms(&fake.agent), fake.now_ms);
    fake_step(&fake);
    yggdrasil_device_v1_Telemetry telemetry = take();
    CHECK_EQ(telemetry.samples_count, 1);
    CHECK_EQ(telemetry.samples[0].capability, YGG_SIM_TEMPERATURE);
    CHECK_EQ(telemetry.samples[0].property, 0);
    CHECK(telemetry.samples[0].value.kind.number == 21.5);
    CHECK_EQ(telemetry.samples[0].age_ms, 70);
    CHECK_EQ(telemetry.dropped, 0);
    CHECK_EQ(fake.agent.credit, 3);
    fake_free(&fake);
}

static void queued_samples_are_batched_by_eight(void)
{
    begin(4);
    for (int i = 0; i < 9; i++) { /* Before the session. */
        sample(i);
    }
    fake_activate(&fake);
    CHECK_EQ(fake.agent.credit, 2);
    fake.out_taken = 0;
    for (int i = 0; i < 9; i++) {
        sample(i);
    }
    fake_step(&fake);
    yggdrasil_device_v1_Telemetry telemetry = take();
    CHECK_EQ(telemetry.samples_count, 8);
    CHECK(telemetry.samples[0].value.kind.number == 0.0 && telemetry.samples[7].value.kind.number == 7.0);
    CHECK_EQ(take().samples_count, 1);
    CHECK_EQ(fake.agent.samples_dropped, 0);
    fake_free(&fake);
}

static void without_credit_the_oldest_are_dropped_and_counted(void)
{
    begin(1);
    fake_activate(&fake);
    sample(-1);
    fake_step(&fake);
    CHECK_EQ(take().samples_count, 1);
    for (int i = 0; i < 100; i++) {
        sample(i);
        fake_step(&fake);
    }
    CHECK_EQ(take().samples_count, 0);
    CHECK(fake.agent.samples_dropped >= 85);
    uint32_t dropped = fake.agent.samples_dropped;
    grant(1);
    yggdrasil_device_v1_Telemetry telemetry = take();
    CHECK_EQ(telemetry.samples_count, 8);
    CHECK_EQ(telemetry.dropped, dropped);
    CHECK(telemetry.samples[0].value.kind.number == (double)dropped);
    CHECK_EQ(take().samples_count, 0); /* One credit, one frame. */
    grant(UINT32_MAX);
    grant(UINT32_MAX); /* Saturates. */
    CHECK(fake.agent.credit > 0);
    size_t rest = take().samples_count;
    CHECK_EQ(1 + 8 + rest + dropped, 101);
    fake_free(&fake);
}

static void a_session_without_the_feature_carries_no_telemetry(void)
{
    begin(64);
    fake.features_refused = true;
    fake_activate(&fake);
    sample(1);
    fake_step(&fake);
    grant(10);
    CHECK_EQ(take().samples_count, 0);
    CHECK_EQ(fake.agent.state, YGG_STATE_ACTIVE);
    fake_free(&fake);
    fake_init(&fake); /* Not offered. */
    fake.credit = 64;
    CHECK_EQ(fake_start(&fake), YGG_OK);
    fake_activate(&fake);
    sample(1);
    fake_step(&fake);
    CHECK_EQ(take().samples_count, 0);
    fake_free(&fake);
}

static void a_lost_sample_is_never_sent_again(void)
{
    begin(1);
    fake_activate(&fake);
    sample(1);
    fake_step(&fake); /* Sent, and lost with the connection. */
    fake.at_end = YGG_ERR_CLOSED;
    fake_step(&fake);
    fake_drain(&fake);
    fake_negotiate(&fake, 0);
    CHECK_EQ(fake.agent.credit, 1); /* The new session's, not the rest of the old one. */
    CHECK_EQ(take().samples_count, 0);
    fake_free(&fake);
}

static void only_observable_properties_of_their_type_are_accepted(void)
{
    const struct ygg_value number = ygg_double(1.0);
    const struct ygg_value integer = ygg_int(1);

    begin(8);
    CHECK_EQ(ygg_agent_sample(&fake.agent, 99, 0, &number), YGG_ERR_ARGUMENT);
    CHECK_EQ(ygg_agent_sample(&fake.agent, YGG_SIM_TEMPERATURE, 1, &number), YGG_ERR_ARGUMENT);
    CHECK_EQ(ygg_agent_sample(&fake.agent, YGG_SIM_TEMPERATURE, 0, &integer), YGG_ERR_ARGUMENT);
    CHECK_EQ(ygg_agent_sample(&fake.agent, YGG_SIM_BATTERY, 0, &number), YGG_ERR_ARGUMENT);
    CHECK_EQ(fake.agent.samples.used, 0);
    fake_free(&fake);
}

static void samples_too_large_for_one_frame_are_split(void)
{
    begin(64);
    fake.config.tx_size = YGG_FRAME_BYTES_MIN + YGG_PREFIX_BYTES;
    CHECK_EQ(fake_start(&fake), YGG_OK);
    yggdrasil_device_v1_Welcome welcome = fake_welcome(false);
    CHECK_EQ(welcome.features_count, 0);
    fake_step(&fake);
    fake.agent.state = YGG_STATE_ACTIVE; /* Only the frame limit matters here. */
    fake.agent.heartbeat_ms = 1000;
    fake.agent.event_window = 1;
    fake.agent.telemetry = true;
    fake.agent.credit = 64;
    fake.agent.link.tx_limit = 60;
    fake_drain(&fake);
    for (int i = 0; i < 8; i++) {
        sample(i);
    }
    fake_step(&fake);
    size_t samples = 0;
    for (yggdrasil_device_v1_Telemetry got = take(); got.samples_count > 0; got = take()) {
        CHECK(got.samples_count < 8);
        samples += got.samples_count;
    }
    CHECK_EQ(samples, 8);
    fake_free(&fake);
}

static void the_board_samples_its_observable_properties_in_turn(void)
{
    static const uint8_t turns[] = {YGG_SIM_TEMPERATURE, YGG_SIM_HUMIDITY, YGG_SIM_GPIO,       YGG_SIM_GPIO,
                                    YGG_SIM_GPIO,        YGG_SIM_GPIO,     YGG_SIM_TEMPERATURE};

    begin(64);
    fake_activate(&fake);
    CHECK_EQ(ygg_sim_wake_ms(&fake.board), UINT64_MAX);
    ygg_sim_observe(&fake.board, 100);
    for (size_t i = 0; i < sizeof turns; i++) {
        fake.now_ms = ygg_sim_wake_ms(&fake.board);
        ygg_sim_step(&fake.board);
        ygg_sim_step(&fake.board); /* Not due twice. */
        fake_step(&fake);
        yggdrasil_device_v1_Telemetry telemetry = take();
        CHECK_EQ(telemetry.samples_count, 1);
        CHECK_EQ(telemetry.samples[0].capability, turns[i]);
    }
    fake.now_ms += 10000; /* Delayed: one sample, not a hundred. */
    ygg_sim_step(&fake.board);
    CHECK(ygg_sim_wake_ms(&fake.board) > fake.now_ms);
    fake_free(&fake);
}

void suite_telemetry(void)
{
    RUN(a_sample_carries_its_property_and_age);
    RUN(queued_samples_are_batched_by_eight);
    RUN(without_credit_the_oldest_are_dropped_and_counted);
    RUN(a_session_without_the_feature_carries_no_telemetry);
    RUN(a_lost_sample_is_never_sent_again);
    RUN(only_observable_properties_of_their_type_are_accepted);
    RUN(samples_too_large_for_one_frame_are_split);
    RUN(the_board_samples_its_observable_properties_in_turn);
}
