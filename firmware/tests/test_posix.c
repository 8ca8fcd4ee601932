/* The parts of the posix port that need no network. */
#include <stdlib.h>
#include <string.h>

#include "ports/posix/platform.h"
#include "ports/posix/resolve.h"
#include "ports/posix/spread.h"
#include "ports/posix/timers.h"
#include "tests/check.h"
#include "tests/suites.h"

static void foreign_text_is_made_printable(void)
{
    char out[64];

    posix_printable(out, sizeof out, "plain text");
    CHECK_TEXT(out, "plain text");
    posix_printable(out, sizeof out, "a\nb\x1b[31m\"q\" \\ \xC3\xA9");
    CHECK_TEXT(out, "a\\x0ab\\x1b[31m\\\"q\\\" \\\\ \\xc3\\xa9");
    posix_printable(out, 1, "x");
    CHECK_TEXT(out, "");
    for (size_t size = 1; size < 20; size++) {
        posix_printable(out, size, "\x01\x02\x03\x04\"\"\"\"");
        CHECK(strlen(out) < size);
    }
}

static void addresses_are_split_or_refused(void)
{
    static const char *const wrong[] = {"",         "host",    ":7443",   "host:", "host:0", "host:65536",
                                        "host:12x", "host:-1", "host:+1", "[]:1",  "host: 1"};
    char host[RESOLVE_TEXT_BYTES];
    char port[8];

    CHECK(resolve_split("127.0.0.1:7443", host, port));
    CHECK_TEXT(host, "127.0.0.1");
    CHECK_TEXT(port, "7443");
    CHECK(resolve_split("[::1]:443", host, port));
    CHECK_TEXT(host, "::1");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK(!resolve_split(wrong[i], host, port));
    }
}

static void the_earliest_timer_is_first(void)
{
    enum { MEMBERS = 257 };
    struct timers timers;
    uint64_t wake[MEMBERS];
    unsigned seed = 7;

    CHECK(timers_init(&timers, MEMBERS));
    for (int i = 0; i < MEMBERS; i++) {
        wake[i] = UINT64_MAX;
    }
    for (int round = 0; round < 20000; round++) {
        seed = seed * 1103515245U + 12345U;
        uint32_t member = (seed >> 8U) % MEMBERS;
        uint64_t min = UINT64_MAX;
        uint64_t first = 0;

        wake[member] = seed % 5U == 0 ? UINT64_MAX : seed >> 4U;
        timers_set(&timers, member, wake[member]);
        for (int i = 0; i < MEMBERS; i++) {
            min = wake[i] < min ? wake[i] : min;
        }
        uint32_t timer = timers_first(&timers, &first);
        if (first != min || wake[timer] != min) {
            CHECK_EQ(first, min);
            break;
        }
    }
    CHECK_EQ(timers.count, MEMBERS);
    timers_free(&timers);
}

static void a_seed_repeats_the_jitter(void)
{
    struct posix_platform one = {.seeded = true, .prng = 5};
    struct posix_platform same = {.seeded = true, .prng = 5};
    struct posix_platform other = {.seeded = true, .prng = 6};
    uint8_t bytes[3][16];

    CHECK_EQ(posix_platform.random(&one, bytes[0], 16), YGG_OK);
    CHECK_EQ(posix_platform.random(&same, bytes[1], 16), YGG_OK);
    CHECK_EQ(posix_platform.random(&other, bytes[2], 16), YGG_OK);
    CHECK(memcmp(bytes[0], bytes[1], 16) == 0);
    CHECK(memcmp(bytes[0], bytes[2], 16) != 0);
}

static void a_storm_is_counted_from_its_first_loss(void)
{
    struct spread spread;

    spread_begin(&spread, 1000);
    spread_attempt(&spread, 1000);
    spread_contract(&spread, 1099);
    CHECK_EQ(spread.attempts[0] + spread.contracts[0], 2);
    spread_lost(&spread, 5000);
    CHECK_EQ(spread.attempts[0], 0);
    spread_lost(&spread, 5050); /* The same storm. */
    spread_attempt(&spread, 5099);
    spread_attempt(&spread, 5250);
    spread_contract(&spread, 5000 + SPREAD_MS - 1);
    spread_contract(&spread, 5000 + SPREAD_MS); /* Too late for this storm. */
    CHECK_EQ(spread.lost, 2);
    CHECK_EQ(spread.attempts[0], 1);
    CHECK_EQ(spread.attempts[2], 1);
    CHECK_EQ(spread.contracts[SPREAD_STEPS - 1], 1);
    spread_lost(&spread, 5050 + SPREAD_MS + 1); /* A new storm. */
    CHECK_EQ(spread.lost, 1);
    CHECK_EQ(spread.begin_ms, 5050 + SPREAD_MS + 1);
}

void suite_posix(void)
{
    RUN(foreign_text_is_made_printable);
    RUN(addresses_are_split_or_refused);
    RUN(the_earliest_timer_is_first);
    RUN(a_seed_repeats_the_jitter);
    RUN(a_storm_is_counted_from_its_first_loss);
}
