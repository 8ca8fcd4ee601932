#include "ports/posix/fleet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HANDSHAKE_TIMEOUT_MS = 15000, PATH_BYTES = 4096, STEPS_PER_TURN_MAX = 1024 };

/* The last one only for devices with slots. */
static const struct ygg_feature features[] = {YGG_FEATURE_TELEMETRY, YGG_FEATURE_CAPABILITY_UPDATE, YGG_FEATURE_TWIN,
                                              YGG_FEATURE_CERTIFICATE, YGG_FEATURE_OTA};

static void name_device(struct device *device, const struct options *options, uint32_t index)
{
    if (options->count == 0) {
        (void)snprintf(device->id, sizeof device->id, "%s", options->id);
    } else {
        (void)snprintf(device->id, sizeof device->id, "%s-%u", options->id, index + 1);
    }
}

static bool load_identity(struct device *device, const struct options *options, char reason[IDENTITY_REASON_BYTES])
{
    char cert[PATH_BYTES];
    char key[PATH_BYTES];

    if (options->count == 0) {
        device->renewal.cert_path = strdup(options->cert);
        return identity_load(&device->identity, options->cert, options->key, reason);
    }
    (void)snprintf(cert, sizeof cert, "%s/%s/cert.pem", options->identities, device->id);
    (void)snprintf(key, sizeof key, "%s/%s/key.pem", options->identities, device->id);
    device->renewal.cert_path = strdup(cert);
    return identity_load(&device->identity, cert, key, reason);
}

static void log_identity_warning(const struct device *device)
{
    char reason[IDENTITY_REASON_BYTES];

    if (identity_warning(&device->identity, device->id, reason)) {
        const struct ygg_log_field field = {.key = "reason", .text = reason};

        posix_platform.log((void *)(uintptr_t)&device->platform, YGG_LOG_WARNING, "identity", &field, 1);
    }
}

static uint32_t start_delay_ms(const struct options *options, uint32_t index)
{
    return options->ramp == 0 ? 0 : (uint32_t)((uint64_t)index * 1000U / options->ramp);
}

static const char *slot_name(const struct device *device)
{
    enum ygg_slot slot = device->slots == NULL ? YGG_SLOT_NONE : device->slots->boot.running;

    return slot == YGG_SLOT_A ? "A" : slot == YGG_SLOT_B ? "B" : "";
}

/* Tests whether this image works: the board answers, and the running image still has its digest. */
static bool self_test(void *ctx)
{
    struct device *device = ctx;
    const struct ygg_boot *boot = &device->slots->boot;
    const struct ygg_call call = {
        .operation = YGG_OPERATION_READ, .capability = YGG_SIM_TEMPERATURE, .deadline_ms = 1000};
    struct ygg_answer answer = {.status = YGG_STATUS_OK};
    bool answers = ygg_sim_driver.call(&device->board, &call, &answer) == YGG_OK && answer.status == YGG_STATUS_OK;

    slots_disarm_watchdog(); /* From here on the image is either kept or restarts itself. */
    return answers && boot->running != YGG_SLOT_NONE &&
           ygg_boot_holds(boot, boot->running, &boot->slots[boot->running].image);
}

/* Opens the flash of a device. A single device was booted by slots_start; with --count, each is booted here. */
static bool open_slots(struct device *device, const struct options *options, char reason[IDENTITY_REASON_BYTES])
{
    char path[PATH_BYTES];

    if (options->slots == NULL) {
        return true;
    }
    device->slots = calloc(1, sizeof *device->slots);
    if (device->slots == NULL) {
        (void)snprintf(reason, IDENTITY_REASON_BYTES, "out of memory for the slots of %s", device->id);
        return false;
    }
    (void)snprintf(path, sizeof path, options->count == 0 ? "%s" : "%s/%s.flash", options->slots, device->id);
    if (!slots_open(device->slots, path, options, reason)) {
        return false;
    }
    device->slots->ota.self_test = self_test;
    device->slots->ota.self_test_ctx = device;
    if (options->count != 0) {
        return slots_boot(device->slots, options, reason);
    }
    device->slots->boot.running = slots_running();
    return true;
}

static void close_slots(struct device *device)
{
    if (device->slots != NULL) {
        slots_close(device->slots);
        free(device->slots);
        device->slots = NULL;
    }
}

static void configure(struct fleet *fleet, struct device *device, const struct options *options, uint32_t index)
{
    device->config = (struct ygg_config){
        .device_id = device->id,
        .model = "sim-board",
        .device_class = options->device_class,
        .firmware_version = options->firmware_version,
        .slot = slot_name(device),
        .address = options->connect,
        .document = &ygg_sim_document,
        .rx = device->rx,
        .rx_size = sizeof device->rx,
        .tx = device->tx,
        .tx_size = sizeof device->tx,
        .events = device->events,
        .events_size = sizeof device->events,
        .answers = device->answers,
        .answers_size = sizeof device->answers,
        .samples = device->samples,
        .samples_size = sizeof device->samples,
        .features = features,
        .features_count = (uint8_t)(YGG_COUNT(features) - (device->slots == NULL ? 1U : 0U)),
        .scratch = &fleet->scratch,
        .ota = device->slots == NULL ? NULL : &device->slots->ota,
        .certificate = &device->certificate,
        .rx_record_bytes = FLEET_RECORD_BYTES,
        .backoff_min_ms = options->backoff_min_ms,
        .backoff_max_ms = options->backoff_max_ms,
        .handshake_timeout_ms = HANDSHAKE_TIMEOUT_MS,
        .start_delay_ms = start_delay_ms(options, index),
    };
}

static void wire_up(struct fleet *fleet, struct device *device, const struct options *options, uint32_t index)
{
    device->platform = (struct posix_platform){
        .device_id = device->id,
        .log_level = options->log_level,
        .seeded = options->seeded,
        .prng = options->seed + index,
    };
    device->connection = (struct tls_connection){
        .client = &fleet->client,
        .identity = &device->identity,
        .platform = &device->platform,
        .epoll_tag = index,
        .fd = -1,
    };
    device->renewal.identity = &device->identity;
    device->renewal.connection = &device->connection;
    device->renewal.platform = &device->platform;
    device->certificate = (struct ygg_certificate){
        .handle = ygg_certificate_handle,
        .produce = ygg_certificate_produce,
        .port = &renew_port,
        .ctx = &device->renewal,
        .room = device->certificates,
    };
    ygg_sim_init(&device->board, &posix_platform, &device->platform);
    device->board.agent = &device->agent;
    device->hal = (struct ygg_hal){
        .transport = &tls_transport,
        .hash = &posix_hash,
        .platform = &posix_platform,
        .driver = &ygg_sim_driver,
        .transport_ctx = &device->connection,
        .hash_ctx = fleet->hash,
        .platform_ctx = &device->platform,
        .driver_ctx = &device->board,
    };
}

static bool start_agent(struct device *device, char reason[IDENTITY_REASON_BYTES])
{
    while (device->config.boot_id == 0) {
        if (!posix_entropy(&device->config.boot_id, sizeof device->config.boot_id)) {
            (void)snprintf(reason, IDENTITY_REASON_BYTES, "cannot read random bytes of the kernel");
            return false;
        }
    }
    enum ygg_err err = ygg_agent_init(&device->agent, &device->config, &device->hal);
    if (err != YGG_OK) {
        (void)snprintf(reason, IDENTITY_REASON_BYTES, "%s: invalid configuration of the agent (%d)", device->id, err);
    }
    return err == YGG_OK;
}

static void set_timer(struct fleet *fleet, uint32_t index)
{
    const struct device *device = &fleet->devices[index];
    uint64_t agent_ms = ygg_agent_wake_ms(&device->agent);
    uint64_t board_ms = ygg_sim_wake_ms(&device->board);

    timers_set(&fleet->timers, index, agent_ms < board_ms ? agent_ms : board_ms);
}

static bool add_device(struct fleet *fleet, const struct options *options, uint32_t index,
                       char reason[IDENTITY_REASON_BYTES])
{
    struct device *device = &fleet->devices[index];

    name_device(device, options, index);
    wire_up(fleet, device, options, index);
    bool loaded = open_slots(device, options, reason) && load_identity(device, options, reason);
    if (loaded) {
        configure(fleet, device, options, index);
        log_identity_warning(device);
    }
    if (!loaded || !start_agent(device, reason)) {
        close_slots(device);
        identity_free(&device->identity);
        free(device->renewal.cert_path);
        return false;
    }
    /* Spread over the period, so that a thousand boards do not sample at the same time. */
    ygg_sim_observe(&device->board, options->telemetry_ms);
    device->board.sample_ms += options->telemetry_ms == 0 ? 0 : index % options->telemetry_ms;
    set_timer(fleet, index);
    return true;
}

bool fleet_init(struct fleet *fleet, const struct options *options, int epoll_fd, char reason[IDENTITY_REASON_BYTES])
{
    uint32_t count = options->count == 0 ? 1 : options->count;

    *fleet = (struct fleet){.epoll_fd = epoll_fd, .options = options, .devices = calloc(count, sizeof *fleet->devices)};
    fleet->hash = EVP_MD_CTX_new();
    spread_begin(&fleet->spread, posix_now_ms());
    if (fleet->devices == NULL || fleet->hash == NULL || !timers_init(&fleet->timers, count)) {
        (void)snprintf(reason, IDENTITY_REASON_BYTES, "out of memory for %u devices", count);
        return false;
    }
    if (!tls_client_init(&fleet->client, options->ca, FLEET_RECORD_BYTES, epoll_fd, !options->no_resume, reason)) {
        return false;
    }
    for (fleet->count = 0; fleet->count < count; fleet->count++) {
        if (!add_device(fleet, options, fleet->count, reason)) {
            return false;
        }
    }
    return true;
}

void fleet_free(struct fleet *fleet)
{
    for (uint32_t i = 0; i < fleet->count; i++) {
        tls_connection_free(&fleet->devices[i].connection);
        identity_free(&fleet->devices[i].identity);
        free(fleet->devices[i].renewal.cert_path);
        close_slots(&fleet->devices[i]);
    }
    tls_client_free(&fleet->client);
    timers_free(&fleet->timers);
    EVP_MD_CTX_free(fleet->hash);
    free(fleet->devices);
    *fleet = (struct fleet){0};
}

static bool has_contract(const struct ygg_agent *agent)
{
    return agent->state == YGG_STATE_ACTIVE || agent->state == YGG_STATE_UPDATING;
}

/* Counts the changes of a step, given the state before it. */
static void count_storm(struct fleet *fleet, struct device *device, bool had_contract, uint32_t sessions,
                        uint32_t begun)
{
    uint64_t now = posix_now_ms();

    if (device->connection.begun != begun) {
        spread_attempt(&fleet->spread, now);
    }
    if (device->agent.sessions != sessions) {
        device->first_ms = sessions == 0 ? (uint32_t)(now - device->connection.begun_ms) : device->first_ms;
        spread_contract(&fleet->spread, now);
    } else if (had_contract && !has_contract(&device->agent)) {
        spread_lost(&fleet->spread, now);
    }
}

/* Restarts a device within the process: the boot state machine chooses a slot, and this program continues as its
 * image. */
static void restart_in_process(struct fleet *fleet, struct device *device, uint32_t index)
{
    char reason[IDENTITY_REASON_BYTES] = "";
    const struct ygg_log_field slot = {.key = "slot", .number = (uint64_t)device->slots->boot.running};
    uint32_t offset_ms = fleet->options->telemetry_ms == 0 ? 0 : index % fleet->options->telemetry_ms;
    struct ygg_ota fresh = {.boot = &device->slots->boot,
                            .verify = device->slots->ota.verify,
                            .first_root = device->slots->ota.first_root,
                            .first_root_size = device->slots->ota.first_root_size,
                            .self_test = self_test,
                            .self_test_ctx = device,
                            .trial_ms = device->slots->ota.trial_ms};

    tls_connection_free(&device->connection);
    device->slots->ota = fresh;
    bool booted = slots_boot(device->slots, fleet->options, reason);
    wire_up(fleet, device, fleet->options, index);
    configure(fleet, device, fleet->options, index);
    device->config.start_delay_ms = 0;
    posix_platform.log(&device->platform, YGG_LOG_INFO, "restart_in_process", &slot, 1);
    if (!booted || !start_agent(device, reason)) {
        const struct ygg_log_field field = {.key = "reason", .text = reason};

        posix_platform.log(&device->platform, YGG_LOG_WARNING, "restart_failed", &field, 1);
        return;
    }
    ygg_sim_observe(&device->board, fleet->options->telemetry_ms);
    device->board.sample_ms += offset_ms;
}

void fleet_step(struct fleet *fleet, uint32_t index)
{
    struct device *device = &fleet->devices[index];
    bool had_contract = has_contract(&device->agent);
    uint32_t sessions = device->agent.sessions;
    uint32_t begun = device->connection.begun;

    ygg_sim_step(&device->board);
    ygg_agent_step(&device->agent);
    count_storm(fleet, device, had_contract, sessions, begun);
    if (ygg_agent_wants_restart(&device->agent)) {
        if (fleet->options->count == 0) {
            fleet->restart = true;
        } else {
            restart_in_process(fleet, device, index);
        }
    }
    set_timer(fleet, index);
}

/* Limited to STEPS_PER_TURN_MAX, so that sockets are served even when all devices are busy. */
int fleet_step_due(struct fleet *fleet, int max_ms)
{
    for (int steps = 0;; steps++) {
        uint64_t now = posix_now_ms();
        uint64_t wake_ms = 0;
        uint32_t index = timers_first(&fleet->timers, &wake_ms);

        if (wake_ms > now) {
            return wake_ms - now < (uint64_t)max_ms ? (int)(wake_ms - now) : max_ms;
        }
        if (steps == STEPS_PER_TURN_MAX) {
            return 0;
        }
        fleet_step(fleet, index);
    }
}

void fleet_stop(struct fleet *fleet)
{
    for (uint32_t i = 0; i < fleet->count; i++) {
        ygg_agent_stop(&fleet->devices[i].agent);
        fleet_step(fleet, i);
    }
}

bool fleet_stopped(const struct fleet *fleet)
{
    for (uint32_t i = 0; i < fleet->count; i++) {
        if (fleet->devices[i].agent.state != YGG_STATE_STOPPED) {
            return false;
        }
    }
    return true;
}

struct device *fleet_find(const struct fleet *fleet, const char *id)
{
    for (uint32_t i = 0; i < fleet->count; i++) {
        if (strcmp(fleet->devices[i].id, id) == 0) {
            return &fleet->devices[i];
        }
    }
    return NULL;
}
