/* Modes of bench-peer. Each prints one JSON object on one line after its measurement. */
#ifndef BENCH_MODES_H
#define BENCH_MODES_H

#include <stdbool.h>
#include <stdint.h>

#include "tls.h"

struct options {
    const char *mode;
    const char *ca;
    const char *identities;
    const char *id;     /* Prefix of `count` ids, or a single id. */
    const char *hellos; /* connect: frames to send, a 4-byte little-endian length before each; NULL: MQTT. */
    const char *to;     /* caller: the id of the responder; download: the path. */
    uint16_t port;
    uint32_t count;
    uint32_t window;   /* Concurrent connection attempts, or messages in flight of a client. */
    uint32_t messages; /* In total. */
    uint32_t payload_bytes;
    bool tls_only;
    bool resume;
    bool hold; /* connect: stay connected until standard input ends. */
};

int mode_connect(const struct options *options);
int mode_publish(const struct options *options);
int mode_echo(const struct options *options);
int mode_responder(const struct options *options);
int mode_caller(const struct options *options);
int mode_queue(const struct options *options);
int mode_download(const struct options *options);

/* "<prefix>-<index + 1>", as the agent names its devices. */
enum { ID_BYTES = 64 };
void id_of(char out[ID_BYTES], const struct options *options, uint32_t index);

#endif
