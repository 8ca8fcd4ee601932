/* The rules of the boot state machine that need no power cut, each on a fresh device. */
#ifndef YGG_TESTS_POWER_RULES_H
#define YGG_TESTS_POWER_RULES_H

#include "tests/power/world.h"

/* Runs all rules in `world`, recreated for each, and prints violations. Returns their number. */
unsigned rules_check(struct world *world, EVP_MD_CTX *hash);

#endif
