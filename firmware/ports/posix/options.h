/* The command line and environment of ygg-agent. */
#ifndef YGG_PORTS_POSIX_OPTIONS_H
#define YGG_PORTS_POSIX_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "ygg/hal.h"

enum { OPTIONS_DEVICES_MAX = 100000 };

struct options {
    const char *id; /* Id of the device; with --count, the prefix of the ids. */
    const char *connect;
    const char *ca;
    const char *cert;
    const char *key;
    const char *identities;
    const char *identity; /* Directory of cert.pem, key.pem and services.pem; NULL: given by single options. */
    const char *token;    /* Enrolment token; NULL: none. */
    const char *control;
    const char *firmware_version;
    const char *device_class;
    const char *slots;         /* Flash file, or with --count the directory of flash files; NULL: no updates. */
    const char *ota_root;      /* Signed factory root. */
    const char *factory_image; /* Initial image of slot A; NULL: this executable. */
    uint32_t slot_bytes;
    uint32_t security_counter; /* Of the factory image. */
    uint32_t trial_ms;
    bool safe_mode;
    uint32_t count;        /* 0: one device, named `id`. */
    uint32_t ramp;         /* First connections per second; 0: unlimited. */
    uint32_t telemetry_ms; /* Sampling interval of a device; 0: off. */
    uint32_t backoff_min_ms;
    uint32_t backoff_max_ms;
    bool no_resume; /* Every connection makes a full TLS handshake. */
    bool seeded;
    uint64_t seed;
    enum ygg_log_level log_level;
};

enum options_outcome { OPTIONS_RUN, OPTIONS_PRINT_CAPABILITIES, OPTIONS_DONE, OPTIONS_INVALID };

/* Reads the environment, then argv. OPTIONS_DONE: --help or --version was printed. OPTIONS_INVALID: all faults were
 * printed to stderr. */
enum options_outcome options_read(struct options *options, int argc, char **argv);

#endif
