/* Variable-length records in one buffer, oldest first.
 *
 *     data: | length | record | length | record | ... free ... |
 *             2 bytes                           ^ used
 *
 * Owns the layout only. Removing a record moves the later ones down, which keeps every record contiguous; buffers are a
 * few kilobytes. */
#ifndef YGG_CORE_RECORDS_H
#define YGG_CORE_RECORDS_H

#include "ygg/agent.h"

/* An iterator over the records; zero it before the first call. Invalidated by append and pop. */
struct ygg_record {
    uint8_t *data;
    size_t length;
    size_t next; /* Offset of the next record. */
};

void ygg_records_init(struct ygg_records *records, uint8_t *data, size_t size);

/* Whether a record of `length` bytes fits now, or would fit if the buffer were empty. */
bool ygg_records_fit(const struct ygg_records *records, size_t length);
bool ygg_records_could_fit(const struct ygg_records *records, size_t length);

/* Appends a record of `length` bytes and returns it, to be filled in; NULL if it does not fit. */
uint8_t *ygg_records_append(struct ygg_records *records, size_t length);

/* Advances to the first or next record. Returns false at the end. */
bool ygg_records_next(const struct ygg_records *records, struct ygg_record *record);

/* Removes a record; ygg_records_next continues after it. */
void ygg_records_remove(struct ygg_records *records, struct ygg_record *record);

/* Removes the oldest record, if any. */
void ygg_records_pop(struct ygg_records *records);

#endif
