/* Clock, randomness, SHA-256 and log lines on a POSIX machine with OpenSSL. */
#ifndef YGG_PORTS_POSIX_PLATFORM_H
#define YGG_PORTS_POSIX_PLATFORM_H

#include "ygg/hal.h"

/* Platform context of one device. */
struct posix_platform {
    const char *device_id; /* Printed in every log line. */
    enum ygg_log_level log_level;
    bool seeded;   /* Jitter and tokens come from `prng`, so that a run is repeatable. */
    uint64_t prng; /* State of SplitMix64. */
};

extern const struct ygg_platform posix_platform; /* Context: struct posix_platform. */
extern const struct ygg_hash posix_hash;         /* Context: an EVP_MD_CTX. */

/* Fills `out` with random bytes of the kernel. Returns false on failure. */
bool posix_entropy(void *out, size_t size);

/* Returns milliseconds of CLOCK_MONOTONIC. */
uint64_t posix_now_ms(void);

/* Copies `text`, escaped for terminals and log parsers: controls and bytes above ASCII become \xNN, quotes and
 * backslashes get a backslash. Truncates to `size` bytes, which is at least 1. */
void posix_printable(char *out, size_t size, const char *text);

#endif
