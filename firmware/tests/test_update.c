/* Changes of the capability document: the bridge is notified, and every index refers to its contract. */
#include "tests/check.h"
#include "tests/fake.h"
#include "tests/suites.h"
#include "ygg/document.h"

static struct fake fake;

static const struct ygg_feature offered[] = {YGG_FEATURE_TELEMETRY, YGG_FEATURE_CAPABILITY_UPDATE};

static void begin(void)
{
    fake_init(&fake);
    fake.config.features = offered;
    fake.config.features_count = YGG_COUNT(offered);
    CHECK_EQ(fake_start(&fake), YGG_OK);
}

static void update(void)
{
    yggdrasil_device_v1_CapabilityUpdate sent = yggdrasil_device_v1_CapabilityUpdate_init_zero;

    CHECK_EQ(ygg_agent_update(&fake.agent, &ygg_sim_extra_document), YGG_OK);
    fake_step(&fake);
    CHECK(fake_find_message(&fake, YGG_BODY_CAPABILITY_UPDATE, yggdrasil_device_v1_CapabilityUpdate_fields, &sent));
    CHECK_EQ(sent.capabilities_size_bytes, ygg_document_size(&ygg_sim_extra_document));
    CHECK_EQ(fake.agent.state, YGG_STATE_UPDATING);
}

static void answer(bool pages)
{
    const yggdrasil_device_v1_CapabilityUpdateAck body = {.send_capabilities = pages, .page_bytes = pages ? 300 : 0};

    fake_send(&fake, YGG_BODY_CAPABILITY_UPDATE_ACK, yggdrasil_device_v1_CapabilityUpdateAck_fields, &body);
    fake_step(&fake);
}

static void agree(void)
{
    const yggdrasil_device_v1_ContractNotice contract = {.revision = 2};

    fake_send(&fake, YGG_BODY_CONTRACT, yggdrasil_device_v1_ContractNotice_fields, &contract);
    fake_step(&fake);
}

static enum ygg_status read_light(const char *call_id)
{
    yggdrasil_device_v1_Result result = yggdrasil_device_v1_Result_init_zero;

    fake_invoke(&fake, call_id, YGG_SIM_LIGHT, YGG_OPERATION_READ, 0, 0, NULL);
    fake_step(&fake);
    (void)fake_find_message(&fake, YGG_BODY_RESULT, yggdrasil_device_v1_Result_fields, &result);
    return (enum ygg_status)result.status;
}

static unsigned count_frames(uint32_t number)
{
    struct ygg_envelope envelope;
    unsigned count = 0;

    while (fake_take(&fake, &envelope)) {
        count += envelope.number == number ? 1U : 0U;
    }
    return count;
}

static void pages_of_the_new_document_are_sent_if_requested(void)
{
    uint32_t size = ygg_document_size(&ygg_sim_extra_document);

    begin();
    fake_activate(&fake);
    update();
    answer(true);
    CHECK_EQ(count_frames(YGG_BODY_CAPABILITY_PAGE), (size + 299) / 300);
    CHECK_EQ(fake.agent.page_offset, size);
    agree();
    CHECK_EQ(fake.agent.state, YGG_STATE_ACTIVE);
    CHECK(fake.agent.document == &ygg_sim_extra_document);
    CHECK_EQ(fake.agent.sessions, 1);
    fake_free(&fake);
}

static void calls_follow_the_contract_in_force(void)
{
    begin();
    fake_activate(&fake);
    CHECK_EQ(read_light("before"), YGG_STATUS_NOT_FOUND);
    update();
    CHECK_EQ(read_light("crossed"), YGG_STATUS_NOT_FOUND);
    answer(false);
    CHECK_EQ(count_frames(YGG_BODY_CAPABILITY_PAGE), 0);
    agree();
    CHECK_EQ(read_light("after"), YGG_STATUS_OK);
    fake_free(&fake);
}

static void events_and_samples_wait_for_the_new_contract(void)
{
    const struct ygg_value hot = ygg_double(80.0);

    begin();
    fake.credit = 8;
    fake_activate(&fake);
    update();
    CHECK_EQ(ygg_agent_emit(&fake.agent, YGG_SIM_TEMPERATURE, 0, &hot, 1), YGG_OK);
    CHECK_EQ(ygg_agent_sample(&fake.agent, YGG_SIM_LIGHT, 0, &hot), YGG_OK); /* By the new document. */
    answer(false);
    fake_run_until(&fake, fake.now_ms + 100);
    CHECK_EQ(count_frames(YGG_BODY_EVENT), 0);
    CHECK_EQ(fake.agent.samples_dropped, 0);
    agree();
    CHECK(fake.agent.event_sent == 1 && fake.agent.samples.used == 0);
    fake_free(&fake);
}

static void items_whose_meaning_changed_are_dropped_and_counted(void)
{
    const struct ygg_value hot = ygg_double(80.0);
    const struct ygg_document other = {.capabilities = ygg_sim_document.capabilities + 1, .count = 2};

    begin();
    CHECK_EQ(ygg_agent_emit(&fake.agent, YGG_SIM_TEMPERATURE, 0, &hot, 1), YGG_OK);
    CHECK_EQ(ygg_agent_sample(&fake.agent, YGG_SIM_TEMPERATURE, 0, &hot), YGG_OK);
    CHECK_EQ(ygg_agent_update(&fake.agent, &ygg_sim_extra_document), YGG_OK);
    CHECK_EQ(fake.agent.events_dropped + fake.agent.samples_dropped, 0); /* Equal in both documents. */
    CHECK_EQ(ygg_agent_update(&fake.agent, &other), YGG_OK);
    CHECK_EQ(fake.agent.events_dropped, 1);
    CHECK_EQ(fake.agent.samples_dropped, 1);
    CHECK_EQ(fake.agent.events.used + fake.agent.samples.used, 0);
    fake_free(&fake);
}

static void without_a_session_the_next_hello_announces_it(void)
{
    yggdrasil_device_v1_Hello hello = yggdrasil_device_v1_Hello_init_zero;

    begin();
    CHECK_EQ(ygg_agent_update(&fake.agent, &ygg_sim_extra_document), YGG_OK);
    fake_step(&fake);
    CHECK(fake_take_message(&fake, YGG_BODY_HELLO, yggdrasil_device_v1_Hello_fields, &hello));
    CHECK_EQ(hello.capabilities_size_bytes, ygg_document_size(&ygg_sim_extra_document));
    fake_free(&fake);
}

static void a_bridge_without_the_feature_gets_a_new_session(void)
{
    begin();
    fake.features_refused = true;
    fake_activate(&fake);
    CHECK_EQ(ygg_agent_update(&fake.agent, &ygg_sim_extra_document), YGG_OK);
    fake_step(&fake);
    CHECK_EQ(count_frames(YGG_BODY_CAPABILITY_UPDATE), 0);
    CHECK_EQ(fake.agent.state, YGG_STATE_BACKOFF);
    fake_negotiate(&fake, 0);
    CHECK_EQ(read_light("after"), YGG_STATUS_OK);
    fake_free(&fake);
}

static void frames_out_of_order_while_updating_end_the_session(void)
{
    for (int round = 0; round < 4; round++) {
        begin();
        fake_activate(&fake);
        if (round == 0) {
            answer(false); /* Without an update. */
        } else {
            update();
        }
        if (round == 1) {
            agree(); /* Before the answer. */
        } else if (round == 2) {
            answer(false);
            answer(false);
        } else if (round == 3) {
            answer(false);
            (void)read_light("held back");
        }
        CHECK_EQ(fake.agent.state, YGG_STATE_BACKOFF);
        fake_free(&fake);
    }
}

static void an_update_times_out_and_is_exclusive(void)
{
    begin();
    fake_activate(&fake);
    update();
    CHECK_EQ(ygg_agent_update(&fake.agent, &ygg_sim_document), YGG_ERR_AGAIN);
    for (int i = 0; i < 60 && fake.agent.state == YGG_STATE_UPDATING; i++) {
        fake_send_raw(&fake, YGG_BODY_PING, "", 0);
        fake_run_until(&fake, fake.now_ms + 100);
    }
    CHECK(fake.agent.state != YGG_STATE_UPDATING);
    CHECK(fake.agent.document == &ygg_sim_extra_document); /* Announced by the next Hello. */
    fake_free(&fake);
}

void suite_update(void)
{
    RUN(pages_of_the_new_document_are_sent_if_requested);
    RUN(calls_follow_the_contract_in_force);
    RUN(events_and_samples_wait_for_the_new_contract);
    RUN(items_whose_meaning_changed_are_dropped_and_counted);
    RUN(without_a_session_the_next_hello_announces_it);
    RUN(a_bridge_without_the_feature_gets_a_new_session);
    RUN(frames_out_of_order_while_updating_end_the_session);
    RUN(an_update_times_out_and_is_exclusive);
}
