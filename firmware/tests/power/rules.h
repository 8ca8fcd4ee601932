/* The rules of the boot state machine that no power cut is needed for: each on a fresh device. */
#ifndef YGG_TESTS_POWER_RULES_H
#define YGG_TESTS_POWER_RULES_H

#include "tests/power/world.h"

/* Runs them all in `world`, which is made anew for each. The number of those that do not hold; names them. */
unsigned rules_check(struct world *world, EVP_MD_CTX *hash);

#endif
