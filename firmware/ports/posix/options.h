/* The command line and environment of ygg-agent. */
#ifndef YGG_PORTS_POSIX_OPTIONS_H
#define YGG_PORTS_POSIX_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "ygg/hal.h"

enum { OPTIONS_DEVICES_MAX = 100000 };

struct options {
    const char *id; /* Of the device, or with --count what the ids begin with. */
    const char *connect;
    const char *ca;
    const char *cert;
    const char *key;
    const char *identities;
    const char *identity; /* DIR of cert.pem, key.pem and services.pem; NULL: they are named one by one. */
    const char *token;    /* To enrol with; NULL: none. */
    const char *control;
    const char *firmware_version;
    const char *device_class;
    const char *slots;         /* Flash file, or with --count the directory of flash files; NULL: no updates. */
    const char *ota_root;      /* Signed root that the device is made with. */
    const char *factory_image; /* What is put into slot A at first; NULL: this executable. */
    uint32_t slot_bytes;
    uint32_t security_counter; /* Of the image that it is made with. */
    uint32_t trial_ms;
    bool safe_mode;
    uint32_t count; /* 0: one device, named `id`. */
    uint32_t ramp;  /* First connections a second; 0: all at once. */
    uint32_t telemetry_ms; /* Between two samples of a device; 0: none. */
    uint32_t backoff_min_ms;
    uint32_t backoff_max_ms;
    bool no_resume; /* Each connection makes a full TLS handshake. */
    bool seeded;
    uint64_t seed;
    enum ygg_log_level log_level;
};

enum options_outcome { OPTIONS_RUN, OPTIONS_PRINT_CAPABILITIES, OPTIONS_DONE, OPTIONS_INVALID };

/* Reads the environment, then argv. OPTIONS_DONE: --help or --version was printed. OPTIONS_WRONG: all that is wrong was told on stderr. */
enum options_outcome options_read(struct options *options, int argc, char **argv);

#endif
