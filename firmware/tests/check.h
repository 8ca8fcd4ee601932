/* A minimal test harness. A case without checks fails; the last line is "N passed, N failed". */
#ifndef YGG_TESTS_CHECK_H
#define YGG_TESTS_CHECK_H

#include <stdbool.h>
#include <stddef.h>

/* Runs a case and counts it. */
void check_run(const char *name, void (*body)(void));
#define RUN(body) check_run(#body, body)

/* Records a check of the running case and prints its location on failure. Returns `holds`. */
bool check_that(bool holds, const char *what, const char *file, int line);
#define CHECK(condition) check_that((condition), #condition, __FILE__, __LINE__)

/* Compares two integers and prints both if they differ. */
bool check_equal(long long left, long long right, const char *what, const char *file, int line);
#define CHECK_EQ(left, right)                                                                                          \
    check_equal((long long)(left), (long long)(right), #left " == " #right, __FILE__, __LINE__)

bool check_text(const char *left, const char *right, const char *what, const char *file, int line);
#define CHECK_TEXT(left, right) check_text((left), (right), #left, __FILE__, __LINE__)

/* Prints the totals. Returns the exit status of the program. */
int check_report(void);

#endif
