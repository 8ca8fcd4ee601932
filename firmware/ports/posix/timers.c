#include "ports/posix/timers.h"

#include <stdlib.h>

bool timers_init(struct timers *timers, size_t count)
{
    *timers = (struct timers){
        .count = count,
        .wake_ms = calloc(count, sizeof *timers->wake_ms),
        .heap = calloc(count, sizeof *timers->heap),
        .place_of = calloc(count, sizeof *timers->place_of),
    };
    if (timers->wake_ms == NULL || timers->heap == NULL || timers->place_of == NULL) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        timers->wake_ms[i] = UINT64_MAX;
        timers->heap[i] = (uint32_t)i;
        timers->place_of[i] = (uint32_t)i;
    }
    return true;
}

void timers_free(struct timers *timers)
{
    free(timers->wake_ms);
    free(timers->heap);
    free(timers->place_of);
    *timers = (struct timers){0};
}

static uint64_t wake_at(const struct timers *timers, size_t place)
{
    return timers->wake_ms[timers->heap[place]];
}

static void swap(struct timers *timers, size_t a, size_t b)
{
    uint32_t member = timers->heap[a];

    timers->heap[a] = timers->heap[b];
    timers->heap[b] = member;
    timers->place_of[timers->heap[a]] = (uint32_t)a;
    timers->place_of[timers->heap[b]] = (uint32_t)b;
}

static void sift_up(struct timers *timers, size_t place)
{
    while (place > 0 && wake_at(timers, place) < wake_at(timers, (place - 1) / 2)) {
        swap(timers, place, (place - 1) / 2);
        place = (place - 1) / 2;
    }
}

static void sift_down(struct timers *timers, size_t place)
{
    for (;;) {
        size_t min = place;

        for (size_t child = 2 * place + 1; child <= 2 * place + 2 && child < timers->count; child++) {
            min = wake_at(timers, child) < wake_at(timers, min) ? child : min;
        }
        if (min == place) {
            return;
        }
        swap(timers, place, min);
        place = min;
    }
}

void timers_set(struct timers *timers, uint32_t member, uint64_t wake_ms)
{
    timers->wake_ms[member] = wake_ms;
    sift_up(timers, timers->place_of[member]);
    sift_down(timers, timers->place_of[member]);
}

uint32_t timers_first(const struct timers *timers, uint64_t *wake_ms)
{
    *wake_ms = wake_at(timers, 0);
    return timers->heap[0];
}
