/* The record memory against a plain model of it. */
#include <string.h>

#include "core/records.h"
#include "tests/check.h"
#include "tests/suites.h"

static void records_are_returned_oldest_first(void)
{
    uint8_t data[64];
    struct ygg_records records;
    struct ygg_record record = {0};

    ygg_records_init(&records, data, sizeof data);
    CHECK(!ygg_records_next(&records, &record));
    memcpy(ygg_records_append(&records, 3), "one", 3);
    memcpy(ygg_records_append(&records, 5), "three", 5);
    CHECK(ygg_records_next(&records, &record));
    CHECK(record.length == 3 && memcmp(record.data, "one", 3) == 0);
    CHECK(ygg_records_next(&records, &record));
    CHECK(record.length == 5 && memcmp(record.data, "three", 5) == 0);
    CHECK(!ygg_records_next(&records, &record));
}

static void a_full_memory_rejects_records_and_keeps_the_old(void)
{
    uint8_t data[16];
    struct ygg_records records;

    ygg_records_init(&records, data, sizeof data);
    CHECK(ygg_records_could_fit(&records, 14));
    CHECK(!ygg_records_could_fit(&records, 15));
    CHECK(ygg_records_append(&records, 10) != NULL);
    CHECK(ygg_records_fit(&records, 2));
    CHECK(!ygg_records_fit(&records, 3));
    CHECK(ygg_records_append(&records, 3) == NULL);
    CHECK_EQ(records.used, 12);
    ygg_records_pop(&records);
    CHECK_EQ(records.used, 0);
    ygg_records_pop(&records);
    CHECK_EQ(records.used, 0);
}

/* Random appends and pops; each record contains its number as often as it is long. */
static void random_appends_and_pops_keep_all_records(void)
{
    uint8_t data[300];
    struct ygg_records records;
    unsigned oldest = 0;
    unsigned newest = 0;
    unsigned seed = 1;

    ygg_records_init(&records, data, sizeof data);
    for (int round = 0; round < 20000; round++) {
        seed = seed * 1103515245U + 12345U;
        size_t length = seed >> 16U & 63U;
        uint8_t *room = ygg_records_append(&records, length);

        if (room == NULL) {
            ygg_records_pop(&records);
            oldest++;
            continue;
        }
        memset(room, (int)(newest & 0xFFU), length);
        newest++;
        struct ygg_record record = {0};
        unsigned number = oldest;
        while (ygg_records_next(&records, &record)) {
            for (size_t i = 0; i < record.length; i++) {
                if (record.data[i] != (number & 0xFFU)) {
                    CHECK_EQ(record.data[i], number & 0xFFU);
                    return;
                }
            }
            number++;
        }
        if (number != newest) {
            CHECK_EQ(number, newest);
            return;
        }
    }
    CHECK(oldest > 5000);
}

void suite_records(void)
{
    RUN(records_are_returned_oldest_first);
    RUN(a_full_memory_rejects_records_and_keeps_the_old);
    RUN(random_appends_and_pops_keep_all_records);
}
