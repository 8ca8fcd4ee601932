/* Clock, randomness, SHA-256 and log lines on a POSIX machine with OpenSSL. */
#ifndef YGG_PORTS_POSIX_PLATFORM_H
#define YGG_PORTS_POSIX_PLATFORM_H

#include "ygg/hal.h"

/* One device's view of the machine. */
struct posix_platform {
    const char *device_id; /* Named in every log line. */
    enum ygg_log_level log_level;
    bool seeded;   /* Jitter and tokens come from `prng`, so that a run can be repeated. */
    uint64_t prng; /* State of SplitMix64. */
};

extern const struct ygg_platform posix_platform; /* Context: struct posix_platform. */
extern const struct ygg_hash posix_hash;         /* Context: an EVP_MD_CTX. */

/* Unpredictable bytes of the kernel. False where there are none. */
bool posix_entropy(void *out, size_t size);

/* Milliseconds of CLOCK_MONOTONIC. */
uint64_t posix_now_ms(void);

/* Copies `text` so that a terminal and a log parser can stand it: controls and bytes above ASCII become \xNN, quotes and
 * backslashes get a backslash. What does not fit is cut. `size` is at least 1. */
void posix_printable(char *out, size_t size, const char *text);

#endif
