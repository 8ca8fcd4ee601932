/* The delay before the next connection: exponential bound, full jitter.
 *
 * Source: "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015), the variant "full jitter": devices that lose
 * the bridge at the same moment do not reconnect at the same moment. */
#ifndef YGG_CORE_BACKOFF_H
#define YGG_CORE_BACKOFF_H

#include <stdint.h>

/* Returns min_ms × 2^attempt, at most max_ms. */
uint32_t ygg_backoff_bound_ms(uint32_t min_ms, uint32_t max_ms, uint8_t attempt);

/* Returns a delay that is uniform in 0 … bound, from 32 random bits. */
uint32_t ygg_backoff_ms(uint32_t bound_ms, uint32_t random);

#endif
