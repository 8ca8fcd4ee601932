#include "ports/posix/fleet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HANDSHAKE_TIMEOUT_MS = 15000, PATH_BYTES = 4096, STEPS_A_TURN = 1024 };

static const struct ygg_feature features[] = {YGG_FEATURE_TELEMETRY, YGG_FEATURE_CAPABILITY_UPDATE, YGG_FEATURE_TWIN};

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
        return identity_load(&device->identity, options->cert, options->key, reason);
    }
    (void)snprintf(cert, sizeof cert, "%s/%s/cert.pem", options->identities, device->id);
    (void)snprintf(key, sizeof key, "%s/%s/key.pem", options->identities, device->id);
    return identity_load(&device->identity, cert, key, reason);
}

static void warn_of_identity(const struct device *device)
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

static void configure(struct fleet *fleet, struct device *device, const struct options *options, uint32_t index)
{
    device->config = (struct ygg_config){
        .device_id = device->id,
        .model = "sim-board",
        .device_class = "sim",
        .firmware_version = options->firmware_version,
        .slot = "",
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
        .features_count = YGG_COUNT(features),
        .scratch = &fleet->scratch,
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
            (void)snprintf(reason, IDENTITY_REASON_BYTES, "the kernel gives no random bytes");
            return false;
        }
    }
    enum ygg_err err = ygg_agent_init(&device->agent, &device->config, &device->hal);
    if (err != YGG_OK) {
        (void)snprintf(reason, IDENTITY_REASON_BYTES, "%s: the agent refuses its configuration (%d)", device->id, err);
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
    configure(fleet, device, options, index);
    bool loaded = load_identity(device, options, reason);
    if (loaded) {
        warn_of_identity(device);
    }
    if (!loaded || !start_agent(device, reason)) {
        identity_free(&device->identity);
        return false;
    }
    /* Spread over the period: a thousand boards do not speak at the same moment. */
    ygg_sim_observe(&device->board, options->telemetry_ms);
    device->board.sample_ms += options->telemetry_ms == 0 ? 0 : index % options->telemetry_ms;
    set_timer(fleet, index);
    return true;
}

bool fleet_init(struct fleet *fleet, const struct options *options, int epoll_fd, char reason[IDENTITY_REASON_BYTES])
{
    uint32_t count = options->count == 0 ? 1 : options->count;

    *fleet = (struct fleet){.epoll_fd = epoll_fd, .devices = calloc(count, sizeof *fleet->devices)};
    fleet->hash = EVP_MD_CTX_new();
    spread_begin(&fleet->spread, posix_now_ms());
    if (fleet->devices == NULL || fleet->hash == NULL || !timers_init(&fleet->timers, count)) {
        (void)snprintf(reason, IDENTITY_REASON_BYTES, "no memory for %u devices", count);
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

/* What a step has changed, by what was before. */
static void count_storm(struct fleet *fleet, struct device *device, bool had_contract, uint32_t sessions, uint32_t begun)
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

void fleet_step(struct fleet *fleet, uint32_t index)
{
    struct device *device = &fleet->devices[index];
    bool had_contract = has_contract(&device->agent);
    uint32_t sessions = device->agent.sessions;
    uint32_t begun = device->connection.begun;

    ygg_sim_step(&device->board);
    ygg_agent_step(&device->agent);
    count_storm(fleet, device, had_contract, sessions, begun);
    set_timer(fleet, index);
}

/* At most STEPS_A_TURN, so that sockets get their turn even when everybody is busy. */
int fleet_step_due(struct fleet *fleet, int most_ms)
{
    for (int steps = 0;; steps++) {
        uint64_t now = posix_now_ms();
        uint64_t wake_ms = 0;
        uint32_t index = timers_first(&fleet->timers, &wake_ms);

        if (wake_ms > now) {
            return wake_ms - now < (uint64_t)most_ms ? (int)(wake_ms - now) : most_ms;
        }
        if (steps == STEPS_A_TURN) {
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
