/* Events reach the bridge at least once, in order, or are counted as dropped. */
#include "tests/check.h"
#include "tests/fake.h"
#include "tests/suites.h"

static struct fake fake;

static void begin(void)
{
    fake_init(&fake);
    CHECK_EQ(fake_start(&fake), YGG_OK);
}

static void emit(double celsius)
{
    const struct ygg_value field = ygg_double(celsius);

    CHECK_EQ(ygg_agent_emit(&fake.agent, YGG_SIM_TEMPERATURE, 0, &field, 1), YGG_OK);
}

static void acknowledge(uint64_t sequence)
{
    const yggdrasil_device_v1_EventAck ack = {.sequence = sequence};

    fake_send(&fake, YGG_BODY_EVENT_ACK, yggdrasil_device_v1_EventAck_fields, &ack);
    fake_step(&fake);
}

/* Takes the next sent event, skipping other frames; sequence 0 at the end. */
static yggdrasil_device_v1_Event take(void)
{
    yggdrasil_device_v1_Event event = yggdrasil_device_v1_Event_init_zero;

    if (!fake_find_message(&fake, YGG_BODY_EVENT, yggdrasil_device_v1_Event_fields, &event)) {
        event.sequence = 0;
    }
    return event;
}

static void an_event_carries_its_fields_and_time(void)
{
    begin();
    fake_activate(&fake);
    fake.now_ms += 234;
    emit(80.25);
    CHECK_EQ(ygg_agent_wake_ms(&fake.agent), fake.now_ms);
    fake_step(&fake);
    yggdrasil_device_v1_Event event = take();
    CHECK_EQ(event.sequence, 1);
    CHECK_EQ(event.capability, YGG_SIM_TEMPERATURE);
    CHECK_EQ(event.event, 0);
    CHECK_EQ(event.uptime_ms, 234);
    CHECK_EQ(event.fields_count, 1);
    CHECK(event.fields[0].value.kind.number == 80.25);
    CHECK_EQ(event.dropped, 0);
    fake_free(&fake);
}

static void events_from_before_the_connection_are_sent_after_it(void)
{
    begin();
    emit(1);
    emit(2);
    fake_step(&fake);
    CHECK_EQ(take().sequence, 0);
    fake_negotiate(&fake, 0);
    CHECK_EQ(take().sequence, 1);
    CHECK_EQ(take().sequence, 2);
    fake_free(&fake);
}

static void unacknowledged_events_are_resent_in_the_next_session(void)
{
    begin();
    fake_activate(&fake);
    for (int i = 1; i <= 4; i++) {
        emit(i);
    }
    fake_step(&fake);
    acknowledge(2);
    fake.at_end = YGG_ERR_CLOSED;
    fake_step(&fake);
    fake_drain(&fake);
    fake_negotiate(&fake, 3); /* 3 is stored, but its ack was lost. */
    CHECK_EQ(take().sequence, 4);
    CHECK_EQ(take().sequence, 0);
    fake_free(&fake);
}

static void acknowledged_events_are_never_resent(void)
{
    begin();
    fake_activate(&fake);
    emit(1);
    emit(2);
    fake_step(&fake);
    acknowledge(2);
    fake.at_end = YGG_ERR_CLOSED;
    fake_step(&fake);
    fake_drain(&fake);
    fake_negotiate(&fake, 0); /* The bridge may have lost the events; so has the device. */
    CHECK_EQ(fake.agent.state, YGG_STATE_ACTIVE);
    CHECK_EQ(take().sequence, 0);
    CHECK_EQ(fake.agent.events.used, 0);
    fake_free(&fake);
}

/* Three heartbeats without an ack: all open events are sent once more, then wait again. */
static void events_are_resent_until_acknowledged(void)
{
    unsigned seen[3] = {0};

    begin();
    fake_activate(&fake);
    fake.agent.event_window = 2; /* Repeats do not count. */
    emit(1);
    emit(2);
    for (int i = 0; i < 65; i++) { /* 6.5 s with a heartbeat of 1 s. */
        fake_send_raw(&fake, YGG_BODY_PING, "", 0);
        fake_run_until(&fake, fake.now_ms + 100);
    }
    for (yggdrasil_device_v1_Event event = take(); event.sequence != 0; event = take()) {
        seen[event.sequence]++;
    }
    CHECK_EQ(seen[1], 3);
    CHECK_EQ(seen[2], 3);
    acknowledge(2);
    fake_drain(&fake);
    for (int i = 0; i < 65; i++) {
        fake_send_raw(&fake, YGG_BODY_PING, "", 0);
        fake_run_until(&fake, fake.now_ms + 100);
    }
    CHECK_EQ(take().sequence, 0);
    fake_free(&fake);
}

/* The new events that are not acknowledged never exceed the window. */
static void no_more_events_than_the_window_are_sent_ahead(void)
{
    uint64_t last = 0;
    unsigned ahead = 0;

    begin();
    fake_activate(&fake);
    fake.agent.event_window = 5;
    for (int i = 0; i < 200; i++) { /* More than the memory holds: gaps in the sequence. */
        emit(i);
    }
    for (int round = 0; round < 100; round++) {
        fake_send_raw(&fake, YGG_BODY_PING, "", 0);
        fake_run_until(&fake, fake.now_ms + 700); /* Long enough for occasional resends. */
        emit(round);
        for (yggdrasil_device_v1_Event event = take(); event.sequence != 0; event = take()) {
            ahead += event.sequence > last;
            last = event.sequence > last ? event.sequence : last;
        }
        CHECK(ahead <= 5);
        if (round % 6 == 5) {
            acknowledge(last);
            ahead = 0;
        }
    }
    CHECK(last > 200);
    fake_free(&fake);
}

static void a_partial_ack_opens_the_window(void)
{
    begin();
    fake_activate(&fake);
    fake.agent.event_window = 5;
    for (int i = 0; i < 20; i++) {
        emit(i);
    }
    fake_step(&fake);
    for (uint64_t i = 1; i <= 5; i++) {
        CHECK_EQ(take().sequence, i);
    }
    CHECK_EQ(take().sequence, 0);
    acknowledge(3);
    for (uint64_t i = 6; i <= 8; i++) {
        CHECK_EQ(take().sequence, i);
    }
    CHECK_EQ(take().sequence, 0);
    fake_free(&fake);
}

/* A bridge that acknowledges slowly but steadily receives no event twice. */
static void an_ack_postpones_the_resend(void)
{
    begin();
    fake_activate(&fake);
    emit(1);
    emit(2);
    fake_run_until(&fake, fake.now_ms + 2000);
    acknowledge(1);
    fake_drain(&fake);
    fake_run_until(&fake, fake.now_ms + 2900);
    CHECK_EQ(take().sequence, 0);
    fake_send_raw(&fake, YGG_BODY_PING, "", 0);
    fake_run_until(&fake, fake.now_ms + 100);
    CHECK_EQ(take().sequence, 2);
    fake_free(&fake);
}

static void stored_events_are_removed_in_the_next_session(void)
{
    begin();
    emit(1);
    emit(2);
    fake_negotiate(&fake, 2);
    CHECK_EQ(fake.agent.events.used, 0);
    fake_free(&fake);
}

static void a_full_memory_drops_the_oldest_and_counts_them(void)
{
    begin();
    for (int i = 0; i < 300; i++) {
        emit(i);
    }
    uint32_t dropped = fake.agent.events_dropped;
    CHECK(dropped > 100);
    fake_negotiate(&fake, 0);
    uint64_t expected = dropped + 1;
    for (yggdrasil_device_v1_Event event = take(); event.sequence != 0; event = take()) {
        CHECK_EQ(event.sequence, expected);
        CHECK_EQ(event.dropped, dropped);
        CHECK(event.fields[0].value.kind.number == (double)(expected - 1));
        expected++;
    }
    CHECK_EQ(expected, 301);
    fake_free(&fake);
}

static void an_ack_beyond_the_newest_event_ends_the_session(void)
{
    begin();
    fake_activate(&fake);
    emit(1);
    fake_step(&fake);
    acknowledge(2);
    CHECK_EQ(fake.agent.state, YGG_STATE_BACKOFF);
    fake_free(&fake);
}

static void undeclared_events_are_refused(void)
{
    const struct ygg_value number = ygg_double(1);
    const struct ygg_value flag = ygg_bool(true);

    begin();
    CHECK_EQ(ygg_agent_emit(&fake.agent, 99, 0, &number, 1), YGG_ERR_ARGUMENT);
    CHECK_EQ(ygg_agent_emit(&fake.agent, YGG_SIM_TEMPERATURE, 1, &number, 1), YGG_ERR_ARGUMENT);
    CHECK_EQ(ygg_agent_emit(&fake.agent, YGG_SIM_TEMPERATURE, 0, &flag, 1), YGG_ERR_ARGUMENT);
    CHECK_EQ(ygg_agent_emit(&fake.agent, YGG_SIM_TEMPERATURE, 0, NULL, 0), YGG_ERR_ARGUMENT);
    CHECK_EQ(fake.agent.event_sequence, 0);
    fake_free(&fake);
}

/* Events are emitted faster than the peer reads; all that were not dropped arrive completely and in order. */
static void a_slow_reader_gets_all_events_in_order(void)
{
    uint64_t last = 0;
    unsigned received = 0;

    begin();
    /* Room for events held back by the send buffer: a dropped event in flight counts as lost. */
    static uint8_t memory[FAKE_MEMORY_BYTES + 110];
    fake.config.events = memory;
    fake.config.events_size = sizeof memory;
    CHECK_EQ(fake_start(&fake), YGG_OK);
    fake_activate(&fake);
    fake.write_room = 0;
    for (int i = 1; i <= 400; i++) {
        emit(i);
        fake.write_room += 17;
        fake_step(&fake);
        for (yggdrasil_device_v1_Event event = take(); event.sequence != 0; event = take()) {
            CHECK(event.sequence > last);
            CHECK(event.fields[0].value.kind.number == (double)event.sequence);
            last = event.sequence;
            received++;
            acknowledge(last);
        }
    }
    fake.write_room = SIZE_MAX;
    fake_step(&fake);
    for (yggdrasil_device_v1_Event event = take(); event.sequence != 0; event = take()) {
        CHECK(event.sequence > last);
        last = event.sequence;
        received++;
    }
    CHECK_EQ(last, 400);
    CHECK_EQ(received + fake.agent.events_dropped, 400);
    fake_free(&fake);
}

void suite_events(void)
{
    RUN(an_event_carries_its_fields_and_time);
    RUN(events_from_before_the_connection_are_sent_after_it);
    RUN(unacknowledged_events_are_resent_in_the_next_session);
    RUN(acknowledged_events_are_never_resent);
    RUN(events_are_resent_until_acknowledged);
    RUN(no_more_events_than_the_window_are_sent_ahead);
    RUN(a_partial_ack_opens_the_window);
    RUN(an_ack_postpones_the_resend);
    RUN(stored_events_are_removed_in_the_next_session);
    RUN(a_full_memory_drops_the_oldest_and_counts_them);
    RUN(an_ack_beyond_the_newest_event_ends_the_session);
    RUN(undeclared_events_are_refused);
    RUN(a_slow_reader_gets_all_events_in_order);
}
