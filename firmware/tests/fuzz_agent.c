/* libFuzzer on the whole agent: each byte of the input selects an action of the bridge, clock, network or board.
 *
 * The sanitizers check memory; abort() checks the rest: the agent neither spins nor sleeps past a deadline, keeps to
 * the event window, has credit only if telemetry was negotiated, and an Invoke executes at most once. Entries of a twin
 * never end a session. */
#include <stdlib.h>
#include <string.h>

#include "tests/fake.h"
#include "ygg/certificate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEPS_MAX = 1000, FRAME_BYTES = 512, MEMORY_BYTES = 300 };

struct play {
    const uint8_t *data;
    size_t size;
};

static const struct ygg_feature features[] = {YGG_FEATURE_TELEMETRY, YGG_FEATURE_CAPABILITY_UPDATE, YGG_FEATURE_TWIN,
                                              YGG_FEATURE_CERTIFICATE};
static struct fake fake;

static size_t make_request(void *ctx, uint8_t *out, size_t size)
{
    size_t length = fake.random % 3 == 0 ? 0 : fake.random % size;

    (void)ctx;
    memset(out, 1, length);
    return length;
}

static bool store(void *ctx, const uint8_t *certificates, size_t size)
{
    (void)ctx;
    return size > 0 && certificates[size - 1] != 0; /* Reads the last byte, for the sanitizers. */
}

static const struct ygg_certificate_port port = {.request = make_request, .store = store};
static struct ygg_certificate certificate;

static uint8_t take(struct play *play)
{
    if (play->size == 0) {
        return 0;
    }
    play->size--;
    return *play->data++;
}

static const uint8_t *take_bytes(struct play *play, size_t *length)
{
    const uint8_t *bytes = play->data;

    *length = *length < play->size ? *length : play->size;
    play->data += *length;
    play->size -= *length;
    return bytes;
}

static void must(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void step(void)
{
    for (int steps = 0;; steps++) {
        must(steps < STEPS_MAX);
        ygg_agent_step(&fake.agent);
        if (ygg_agent_wake_ms(&fake.agent) > fake.now_ms) {
            break;
        }
    }
    must(fake.agent.link.tx_end <= fake.config.tx_size && fake.agent.link.rx_end <= fake.config.rx_size);
    must(fake.agent.state != YGG_STATE_ACTIVE || fake.agent.events_ahead <= fake.agent.event_window);
    must(fake.agent.telemetry || fake.agent.credit == 0);
    must(fake.agent.samples.used <= fake.config.samples_size);
    fake_drain(&fake);
}

static void send_terms(uint8_t flags)
{
    yggdrasil_device_v1_Welcome welcome = fake_welcome((flags & 1U) != 0);
    const yggdrasil_device_v1_ContractNotice contract = {.revision = 1};

    welcome.device_rx_frame_bytes = FRAME_BYTES;
    welcome.device_tx_frame_bytes = (flags & 2U) != 0 ? 256 : FRAME_BYTES;
    welcome.event_window = 1U + (flags >> 2U);
    welcome.telemetry_credit = flags >> 4U;
    welcome.features_count = YGG_COUNT(features);
    memcpy(welcome.features[0].name, "telemetry", sizeof "telemetry");
    welcome.features[0].version = (flags & 8U) != 0 ? 1 : 0;
    memcpy(welcome.features[1].name, "capability_update", sizeof "capability_update");
    welcome.features[1].version = (flags & 16U) != 0 ? 1 : 0;
    memcpy(welcome.features[2].name, "twin", sizeof "twin");
    welcome.features[2].version = (flags & 32U) != 0 ? 1 : 0;
    memcpy(welcome.features[3].name, "certificate", sizeof "certificate");
    welcome.features[3].version = (flags & 64U) != 0 ? 1 : 0;
    welcome.last_event_sequence = (flags & 4U) != 0 ? fake.agent.event_sequence : 0;
    fake_send(&fake, YGG_BODY_WELCOME, yggdrasil_device_v1_Welcome_fields, &welcome);
    step();
    fake_send(&fake, YGG_BODY_CONTRACT, yggdrasil_device_v1_ContractNotice_fields, &contract);
}

static void add_once_more(uint8_t which)
{
    char call_id[2] = {(char)('a' + which % 4), '\0'};
    int64_t before = fake.board.tally;

    fake_invoke(&fake, call_id, YGG_SIM_COUNTER, YGG_OPERATION_ACTION, 0, 1, (const int64_t[]){1});
    step();
    must(fake.board.tally - before <= 1);
}

/* Sends entries with any indexes and values. Invalid ones get a status; none ends the session. */
static void desire(struct play *play, size_t count)
{
    yggdrasil_device_v1_TwinDelta delta = {.version = 1U + take(play),
                                           .entries_count = (pb_size_t)(1U + count % YGG_TWIN_MAX)};
    bool served = fake.agent.state == YGG_STATE_ACTIVE && fake.agent.twin && fake.write_room == SIZE_MAX &&
                  fake.at_end == YGG_ERR_AGAIN && fake.in_read == fake.in_end &&
                  fake.agent.link.rx_head == fake.agent.link.rx_end;

    for (size_t i = 0; i < delta.entries_count; i++) {
        yggdrasil_device_v1_TwinEntry *entry = &delta.entries[i];
        uint8_t kind = take(play);

        entry->capability = take(play) % 9U;
        entry->property = take(play) % 5U;
        entry->has_value = true;
        entry->value.which_kind = (kind & 1U) != 0 ? yggdrasil_device_v1_LinkValue_boolean_tag
                                                   : yggdrasil_device_v1_LinkValue_integer_tag;
        if ((kind & 1U) != 0) {
            entry->value.kind.boolean = (kind & 2U) != 0;
        } else {
            entry->value.kind.integer = kind;
        }
    }
    fake_send(&fake, YGG_BODY_TWIN_DELTA, yggdrasil_device_v1_TwinDelta_fields, &delta);
    if (served) {
        step();
        must(fake.agent.state == YGG_STATE_ACTIVE);
    }
}

static void act(struct play *play)
{
    uint8_t what = take(play);
    size_t length = take(play);
    const struct ygg_answer answer = {.status = YGG_STATUS_OK};
    const struct ygg_value hot = ygg_double(80.0);

    switch (what % 18U) {
    case 0: /* Any bytes. */
    {
        const uint8_t *bytes = take_bytes(play, &length);
        fake_feed(&fake, bytes, length);
        break;
    }
    case 1: /* A frame with any body. */
    case 2: {
        uint32_t number = take(play) % 70U;
        const uint8_t *bytes = take_bytes(play, &length);
        fake_send_raw(&fake, number, bytes, length);
        break;
    }
    case 3:
        send_terms((uint8_t)length);
        break;
    case 4:
        fake.now_ms += (uint64_t)length * length;
        break;
    case 5:
        fake.at_end = (length & 1U) != 0 ? YGG_ERR_CLOSED : YGG_ERR_IO;
        break;
    case 6:
        fake.write_room = (length & 1U) != 0 ? SIZE_MAX : length;
        fake.write_max = length & 7U;
        break;
    case 7:
        ygg_sim_set(&fake.board, YGG_SIM_TEMPERATURE, 0, &hot);
        break;
    case 8:
        fake.driver_result = (length & 1U) != 0 ? YGG_ERR_AGAIN : YGG_OK;
        break;
    case 9:
        (void)ygg_agent_complete(&fake.agent, fake.agent.next_handle - (uint32_t)(length & 3U), &answer);
        break;
    case 10:
        add_once_more((uint8_t)length);
        break;
    case 12: /* A streamed call; the board answers when its time comes. */
        fake_invoke(&fake, (length & 1U) != 0 ? "x" : "y", YGG_SIM_COUNTER, YGG_OPERATION_ACTION, 1, 2,
                    (const int64_t[]){(int64_t)(1 + length % 100U), 10});
        break;
    case 14: /* Other capabilities; the bridge may answer or not. */
        (void)ygg_agent_update(&fake.agent, (length & 1U) != 0 ? &ygg_sim_extra_document : &ygg_sim_document);
        break;
    case 13:
        ygg_sim_step(&fake.board);
        break;
    case 16:
        desire(play, length);
        break;
    case 17:
        (void)ygg_agent_changed(&fake.agent, (uint8_t)(length % 9U));
        break;
    case 11:
        (void)ygg_agent_sample(&fake.agent, YGG_SIM_TEMPERATURE, 0, &hot);
        break;
    default:
        fake.connect_result = (length & 3U) == 1 ? YGG_ERR_AGAIN : (length & 3U) == 2 ? YGG_ERR_IO : YGG_OK;
        fake.read_max = length & 4U;
        break;
    }
    step();
}

/* Separate allocations, so that the sanitizers detect overruns. */
static void give_buffers(void)
{
    fake.config.rx_size = FRAME_BYTES + YGG_PREFIX_BYTES;
    fake.config.tx_size = FRAME_BYTES + YGG_PREFIX_BYTES;
    fake.config.events_size = MEMORY_BYTES;
    fake.config.answers_size = MEMORY_BYTES;
    fake.config.features = features;
    fake.config.features_count = YGG_COUNT(features);
    fake.config.rx = malloc(fake.config.rx_size);
    fake.config.tx = malloc(fake.config.tx_size);
    fake.config.events = malloc(fake.config.events_size);
    fake.config.answers = malloc(fake.config.answers_size);
    certificate = (struct ygg_certificate){.handle = ygg_certificate_handle,
                                           .produce = ygg_certificate_produce,
                                           .port = &port,
                                           .room = malloc(YGG_CERTIFICATES_BYTES_MAX)};
    fake.config.certificate = &certificate;
    must(certificate.room != NULL && fake.config.rx != NULL && fake.config.tx != NULL && fake.config.events != NULL &&
         fake.config.answers != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct play play = {.data = data, .size = size};

    fake_reset(&fake);
    give_buffers();
    must(fake_start(&fake) == YGG_OK);
    step();
    for (int acts = 0; acts < 200 && play.size > 0; acts++) {
        act(&play);
    }
    ygg_agent_stop(&fake.agent);
    fake.now_ms += 1000;
    step();
    must(fake.agent.state == YGG_STATE_STOPPED && !fake.connected);
    free(fake.config.rx);
    free(fake.config.tx);
    free(fake.config.events);
    free(fake.config.answers);
    free(certificate.room);
    fake_free(&fake);
    return 0;
}
