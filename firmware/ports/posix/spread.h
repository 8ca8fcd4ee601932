/* When the devices of a process came back after a storm, counted in steps of 100 ms: whether they do so in step.
 *
 * A storm begins with the start of the process, and with the first session that is lost after a quiet SPREAD_MS. */
#ifndef YGG_PORTS_POSIX_SPREAD_H
#define YGG_PORTS_POSIX_SPREAD_H

#include <stdint.h>

enum { SPREAD_STEP_MS = 100, SPREAD_STEPS = 600, SPREAD_MS = SPREAD_STEP_MS * SPREAD_STEPS };

struct spread {
    uint64_t begin_ms; /* When the storm began. */
    uint64_t lost_ms;  /* When a session was lost last. */
    uint32_t lost;     /* Sessions lost in it. */
    uint32_t attempts[SPREAD_STEPS];  /* Connections begun. */
    uint32_t contracts[SPREAD_STEPS]; /* Sessions that became active. */
};

void spread_begin(struct spread *spread, uint64_t now_ms);

/* Each counts one; what is later than SPREAD_MS after the beginning is not counted. */
void spread_lost(struct spread *spread, uint64_t now_ms);
void spread_attempt(struct spread *spread, uint64_t now_ms);
void spread_contract(struct spread *spread, uint64_t now_ms);

#endif
