#include "core/backoff.h"

uint32_t ygg_backoff_bound_ms(uint32_t min_ms, uint32_t max_ms, uint8_t attempt)
{
    uint64_t bound = attempt < 32 ? (uint64_t)min_ms << attempt : UINT64_MAX;

    return bound < max_ms ? (uint32_t)bound : max_ms;
}

uint32_t ygg_backoff_ms(uint32_t bound_ms, uint32_t random)
{
    return (uint32_t)(((uint64_t)random * ((uint64_t)bound_ms + 1)) >> 32U);
}
