/* The power-cut proof: power fails before and during every operation of every scenario, and then before and during
 * every operation of the recovery.
 *
 *     power [TEARS]    TEARS different tears of each operation, 1 to 64 (1)
 *
 * Prints the cuts of each scenario. Exit status 1 if any invariant is violated. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/power/rules.h"
#include "tests/power/world.h"

enum { TEARS_MAX = 64, CUTS = 2 };

/* A power cut: the operation, and 0 for before it or the number of a tear. */
struct cut {
    uint32_t at;
    unsigned tear;
};

static struct world start; /* Initial state of the scenario. */
static struct world world;
static unsigned long cuts_made;
static unsigned long plays;

/* Schedules a cut; operations are counted from this power-on. */
static void arm(const struct cut *cut)
{
    world.ram.operations = 0;
    world.ram.cut_at = cut->at;
    world.ram.tear = cut->tear != 0;
    world.ram.random = (cut->tear * 2U + 1U) * UINT64_C(0x9E3779B97F4A7C15) + cut->at;
}

/* Plays a scenario with cuts. Returns how many of them occurred. */
static unsigned play(const struct scenario *scenario, const struct cut cuts[CUTS])
{
    static const struct cut none;
    enum verdict verdict = RESTART;

    world = start;
    world.ram.flash.ctx = &world.ram;
    world.ram.on_cut_ctx = &world;
    world.layout.flash = &world.ram.flash;
    arm(&cuts[0]);
    for (unsigned runs = 0; verdict == RESTART && world.fault == NULL; runs++) {
        unsigned before = world.cuts;

        verdict = world_run(&world, scenario);
        if (world.cuts != before) {
            arm(world.cuts < CUTS ? &cuts[world.cuts] : &none);
        }
        if (runs == WORLD_RUNS_MAX) {
            world_fault(&world, "it does not terminate");
        }
    }
    if (world.fault == NULL && world.confirmed != scenario->end) {
        world_fault(&world, "the wrong image is confirmed at the end");
    }
    if (world.fault == NULL && world.cuts == 0 && scenario->starts_of_1 != 0 &&
        world.starts[1] + (scenario->end == 1 ? 1U : 0U) != scenario->starts_of_1) {
        world_fault(&world, "a trial has more or fewer boots than it should");
    }
    plays++;
    cuts_made += world.cuts;
    return world.cuts;
}

static bool is_wrong(const struct scenario *scenario, const struct cut cuts[CUTS])
{
    if (world.fault != NULL) {
        printf("FAILED %s: %s\n", scenario->name, world.fault);
        for (unsigned i = 0; i < world.cuts && i < CUTS; i++) {
            printf("    cut %u: operation %u, %s %u\n", i + 1, cuts[i].at, cuts[i].tear == 0 ? "before" : "tear",
                   cuts[i].tear);
        }
    }
    return world.fault != NULL;
}

/* Plays every second cut after a given first one. Returns false at the first fault. */
static bool prove_recovery(const struct scenario *scenario, struct cut cuts[CUTS], unsigned tears)
{
    for (cuts[1].at = 1;; cuts[1].at++) {
        for (cuts[1].tear = 0; cuts[1].tear <= tears; cuts[1].tear++) {
            unsigned came = play(scenario, cuts);

            if (is_wrong(scenario, cuts)) {
                return false;
            }
            if (came < CUTS) {
                return true; /* The recovery has no such operation. */
            }
        }
    }
}

static bool prove(const struct scenario *scenario, unsigned tears)
{
    struct cut cuts[CUTS] = {{0}};
    unsigned long before = cuts_made;
    unsigned operations = 0;

    (void)play(scenario, cuts);
    operations = world.ram.operations;
    if (is_wrong(scenario, cuts)) {
        return false;
    }
    for (cuts[0].at = 1; cuts[0].at <= operations; cuts[0].at++) {
        for (cuts[0].tear = 0; cuts[0].tear <= tears; cuts[0].tear++) {
            if (!prove_recovery(scenario, cuts, tears)) {
                return false;
            }
        }
    }
    printf("  %-44s %3u operations, %7lu cuts\n", scenario->name, operations, cuts_made - before);
    return true;
}

int main(int argc, char **argv)
{
    unsigned tears = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1;
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    unsigned failed = 0;

    if (hash == NULL || tears == 0 || tears > TEARS_MAX) {
        (void)fputs("usage: power [TEARS]\n", stderr);
        return EXIT_FAILURE;
    }
    failed = rules_check(&start, hash);
    for (unsigned i = 0; i < world_scenarios_count; i++) {
        world_init(&start, hash);
        world_make(&start);
        if (world_scenarios[i].prepare != NULL) {
            world_scenarios[i].prepare(&start);
        }
        start.cuts = 0;
        failed += prove(&world_scenarios[i], tears) ? 0 : 1;
    }
    EVP_MD_CTX_free(hash);
    printf("%lu power cuts in %lu plays, %u failed\n", cuts_made, plays, failed);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
