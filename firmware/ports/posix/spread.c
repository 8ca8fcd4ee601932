#include "ports/posix/spread.h"

void spread_begin(struct spread *spread, uint64_t now_ms)
{
    *spread = (struct spread){.begin_ms = now_ms, .lost_ms = now_ms};
}

static void count(uint32_t steps[SPREAD_STEPS], const struct spread *spread, uint64_t now_ms)
{
    uint64_t step = (now_ms - spread->begin_ms) / SPREAD_STEP_MS;

    if (step < SPREAD_STEPS) {
        steps[step]++;
    }
}

void spread_lost(struct spread *spread, uint64_t now_ms)
{
    if (spread->lost == 0 || now_ms - spread->lost_ms > SPREAD_MS) {
        spread_begin(spread, now_ms);
    }
    spread->lost_ms = now_ms;
    spread->lost++;
}

void spread_attempt(struct spread *spread, uint64_t now_ms)
{
    count(spread->attempts, spread, now_ms);
}

void spread_contract(struct spread *spread, uint64_t now_ms)
{
    count(spread->contracts, spread, now_ms);
}
