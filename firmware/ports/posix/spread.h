/* Reconnects of the devices of a process after a storm, counted in steps of 100 ms, to show whether they are spread.
 *
 * A storm begins with the start of the process, and with the first session lost after SPREAD_MS without one. */
#ifndef YGG_PORTS_POSIX_SPREAD_H
#define YGG_PORTS_POSIX_SPREAD_H

#include <stdint.h>

enum { SPREAD_STEP_MS = 100, SPREAD_STEPS = 600, SPREAD_MS = SPREAD_STEP_MS * SPREAD_STEPS };

struct spread {
    uint64_t begin_ms;                /* Start of the storm. */
    uint64_t lost_ms;                 /* Time of the latest lost session. */
    uint32_t lost;                    /* Sessions lost in the storm. */
    uint32_t attempts[SPREAD_STEPS];  /* Connections started. */
    uint32_t contracts[SPREAD_STEPS]; /* Sessions that became active. */
};

void spread_begin(struct spread *spread, uint64_t now_ms);

/* Each counts one event; events later than SPREAD_MS after the start are ignored. */
void spread_lost(struct spread *spread, uint64_t now_ms);
void spread_attempt(struct spread *spread, uint64_t now_ms);
void spread_contract(struct spread *spread, uint64_t now_ms);

#endif
