/* The next of thousands of wake times: a binary heap. */
#ifndef YGG_PORTS_POSIX_TIMERS_H
#define YGG_PORTS_POSIX_TIMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct timers {
    size_t count;
    uint64_t *wake_ms;  /* Of each member. */
    uint32_t *heap;     /* Members, the earliest first. */
    uint32_t *place_of; /* Index of each member in the heap. */
};

/* Initialises `count` members without a wake time. Returns false if out of memory. */
bool timers_init(struct timers *timers, size_t count);
void timers_free(struct timers *timers);

void timers_set(struct timers *timers, uint32_t member, uint64_t wake_ms);

/* Returns the member with the earliest wake time, and that time; UINT64_MAX: never. */
uint32_t timers_first(const struct timers *timers, uint64_t *wake_ms);

#endif
