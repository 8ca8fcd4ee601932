/* The program that `make size` measures: one agent with the profile of an ESP32-C3 and the simulated board, on the
 * no-op HAL. Each buffer is an object of its own, so that the report can name it. */
#include "boards/sim/board.h"
#include "hal/noop.h"
#include "ygg/agent.h"
#include "ygg/ota.h"

enum { FRAME_BYTES = 4096, MEMORY_BYTES = 2048 };

struct ygg_agent size_agent;
struct ygg_scratch size_scratch;
struct ygg_sim_board size_board;
uint8_t size_rx_frame[FRAME_BYTES + YGG_PREFIX_BYTES];
uint8_t size_tx_frame[FRAME_BYTES + YGG_PREFIX_BYTES];
uint8_t size_event_memory[MEMORY_BYTES];
uint8_t size_answer_memory[MEMORY_BYTES];
uint8_t size_sample_memory[YGG_RECORDS_BYTES_MIN];

struct ygg_boot size_boot;
struct ygg_ota size_ota;

static const struct ygg_feature features[] = {YGG_FEATURE_TELEMETRY, YGG_FEATURE_CAPABILITY_UPDATE, YGG_FEATURE_TWIN,
                                              YGG_FEATURE_OTA};

/* 4 MB of flash as on an ESP32-C3, two slots of 1.5 MB. */
enum { BLOCK_BYTES = 4096, SLOT_BYTES = 1536 * 1024, JOURNAL_BYTES = 4 * BLOCK_BYTES, SLOTS_AT = 64 * 1024 };
static const struct ygg_flash flash = {.ops = &ygg_noop_flash, .block_bytes = BLOCK_BYTES, .blocks = 1024};
static const struct ygg_layout layout = {.flash = &flash,
                                         .trust = 2 * BLOCK_BYTES,
                                         .journal = 4 * BLOCK_BYTES,
                                         .journal_bytes = JOURNAL_BYTES,
                                         .slots = {SLOTS_AT, SLOTS_AT + SLOT_BYTES},
                                         .slot_bytes = SLOT_BYTES};

static bool self_test(void *ctx)
{
    return ctx != NULL;
}

static const struct ygg_hal hal = {
    .transport = &ygg_noop_transport,
    .hash = &ygg_noop_hash,
    .platform = &ygg_noop_platform,
    .driver = &ygg_sim_driver,
    .driver_ctx = &size_board,
};

static const struct ygg_config config = {
    .device_id = "size",
    .model = "rv32imc",
    .device_class = "size",
    .firmware_version = "1.0.0",
    .slot = "A",
    .address = "bridge:7443",
    .boot_id = 1,
    .document = &ygg_sim_document,
    .rx = size_rx_frame,
    .rx_size = sizeof size_rx_frame,
    .tx = size_tx_frame,
    .tx_size = sizeof size_tx_frame,
    .events = size_event_memory,
    .events_size = sizeof size_event_memory,
    .answers = size_answer_memory,
    .answers_size = sizeof size_answer_memory,
    .samples = size_sample_memory,
    .samples_size = sizeof size_sample_memory,
    .features = features,
    .features_count = YGG_COUNT(features),
    .scratch = &size_scratch,
    .ota = &size_ota,
    .rx_record_bytes = FRAME_BYTES,
    .backoff_min_ms = 250,
    .backoff_max_ms = 8000,
    .handshake_timeout_ms = 15000,
};

int main(void)
{
    const struct ygg_answer answer = {.status = YGG_STATUS_OK};

    ygg_sim_init(&size_board, &ygg_noop_platform, NULL);
    size_board.agent = &size_agent;
    size_boot = (struct ygg_boot){.layout = &layout, .hash = &ygg_noop_hash, .boots_max = 3};
    size_ota = (struct ygg_ota){
        .boot = &size_boot, .verify = &ygg_noop_verify, .self_test = self_test, .trial_ms = 60000};
    if (ygg_boot_open(&size_boot) != YGG_OK) {
        return 1;
    }
    size_boot.running = ygg_boot_choose(&size_boot, false);
    if (ygg_agent_init(&size_agent, &config, &hal) != YGG_OK) {
        return 1;
    }
    while (ygg_agent_wake_ms(&size_agent) != UINT64_MAX) {
        ygg_sim_step(&size_board);
        ygg_agent_step(&size_agent);
        if (ygg_agent_update(&size_agent, &ygg_sim_extra_document) == YGG_OK &&
            ygg_agent_complete(&size_agent, 1, &answer) == YGG_OK) {
            ygg_agent_stop(&size_agent);
        }
    }
    return 0;
}
