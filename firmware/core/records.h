/* Variable-length records in one buffer, oldest first.
 *
 *     data: | length | record | length | record | ... free ... |
 *             2 bytes                           ^ used
 *
 * Owns the layout only. Taking the oldest out moves the rest down: buffers are a few kilobytes and this keeps every
 * record contiguous. */
#ifndef YGG_CORE_RECORDS_H
#define YGG_CORE_RECORDS_H

#include "ygg/agent.h"

/* A record in the buffer; all zero before the first. Invalid after append and pop. */
struct ygg_record {
    uint8_t *data;
    size_t length;
    size_t next; /* Where the following one begins. */
};

void ygg_records_init(struct ygg_records *records, uint8_t *data, size_t size);

/* Whether a record of `length` bytes fits now, or would fit if the buffer were empty. */
bool ygg_records_fit(const struct ygg_records *records, size_t length);
bool ygg_records_could_fit(const struct ygg_records *records, size_t length);

/* Room for a new record of `length` bytes, to be filled in; NULL where there is none. */
uint8_t *ygg_records_append(struct ygg_records *records, size_t length);

/* Moves to the first or next record. False where there is none. */
bool ygg_records_next(const struct ygg_records *records, struct ygg_record *record);

/* Forgets a record; ygg_records_next goes on after it. */
void ygg_records_remove(struct ygg_records *records, struct ygg_record *record);

/* Forgets the oldest record. Nothing happens where there is none. */
void ygg_records_pop(struct ygg_records *records);

#endif
