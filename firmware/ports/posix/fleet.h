/* The devices that this process hosts, each with its own identity, board, buffers and agent, on one epoll instance. */
#ifndef YGG_PORTS_POSIX_FLEET_H
#define YGG_PORTS_POSIX_FLEET_H

#include "boards/sim/board.h"
#include "ports/posix/options.h"
#include "ports/posix/renew.h"
#include "ports/posix/slots.h"
#include "ports/posix/spread.h"
#include "ports/posix/timers.h"
#include "ports/posix/tls.h"
#include "ygg/agent.h"

/* The profile of an ESP32-C3, in bytes. */
enum {
    FLEET_FRAME_BYTES = 4096,
    FLEET_RECORD_BYTES = 4096,
    FLEET_EVENTS_BYTES = 2048,
    FLEET_ANSWERS_BYTES = 2048,
    FLEET_SAMPLES_BYTES = 256
};

struct device {
    char id[64];
    struct identity identity;
    struct posix_platform platform;
    struct tls_connection connection;
    struct ygg_sim_board board;
    struct ygg_hal hal;
    struct ygg_config config;
    struct ygg_agent agent;
    struct renewal renewal;
    struct ygg_certificate certificate;
    uint8_t certificates[YGG_CERTIFICATES_BYTES_MAX];
    struct slots *slots; /* NULL: no updates. */
    uint32_t first_ms;   /* Time from the start of the attempt to the first contract, in ms; 0 before. */
    uint8_t events[FLEET_EVENTS_BYTES];
    uint8_t answers[FLEET_ANSWERS_BYTES];
    uint8_t samples[FLEET_SAMPLES_BYTES];
    uint8_t rx[FLEET_FRAME_BYTES + YGG_PREFIX_BYTES];
    uint8_t tx[FLEET_FRAME_BYTES + YGG_PREFIX_BYTES];
};

struct fleet {
    struct device *devices;
    uint32_t count;
    const struct options *options;
    bool restart; /* The single device must be restarted. */
    int epoll_fd; /* Events of a device carry its index. */
    struct tls_client client;
    struct ygg_scratch scratch;
    EVP_MD_CTX *hash;
    struct timers timers;
    struct spread spread;
};

/* Loads all identities and initialises the agents. Returns false and a `reason` if one fails. */
bool fleet_init(struct fleet *fleet, const struct options *options, int epoll_fd, char reason[IDENTITY_REASON_BYTES]);
void fleet_free(struct fleet *fleet);

/* Steps a device. */
void fleet_step(struct fleet *fleet, uint32_t index);

/* Steps the due devices. Returns the milliseconds until the next one is due, at most `max_ms`. */
int fleet_step_due(struct fleet *fleet, int max_ms);

/* Stops all devices; then returns whether all have stopped. */
void fleet_stop(struct fleet *fleet);
bool fleet_stopped(const struct fleet *fleet);

/* Returns NULL for an unknown id. */
struct device *fleet_find(const struct fleet *fleet, const char *id);

#endif
