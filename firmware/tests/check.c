#include "tests/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned passed;
static unsigned failed;
static unsigned checks;
static unsigned failures;

void check_run(const char *name, void (*body)(void))
{
    checks = 0;
    failures = 0;
    body();
    if (checks == 0) {
        printf("  %s checks nothing\n", name);
        failures++;
    }
    if (failures > 0) {
        printf("FAILED %s\n", name);
        failed++;
    } else {
        passed++;
    }
}

bool check_that(bool holds, const char *what, const char *file, int line)
{
    checks++;
    if (!holds) {
        failures++;
        printf("  %s:%d: failed: %s\n", file, line, what);
    }
    return holds;
}

bool check_equal(long long left, long long right, const char *what, const char *file, int line)
{
    bool holds = check_that(left == right, what, file, line);

    if (!holds) {
        printf("    %lld and %lld\n", left, right);
    }
    return holds;
}

bool check_text(const char *left, const char *right, const char *what, const char *file, int line)
{
    bool holds = check_that(strcmp(left, right) == 0, what, file, line);

    if (!holds) {
        printf("    \"%s\" and \"%s\"\n", left, right);
    }
    return holds;
}

int check_report(void)
{
    printf("%u passed, %u failed\n", passed, failed);
    return failed == 0 && passed > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
