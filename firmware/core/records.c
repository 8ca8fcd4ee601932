#include "core/records.h"

#include <string.h>

enum { LENGTH_BYTES = 2 };

void ygg_records_init(struct ygg_records *records, uint8_t *data, size_t size)
{
    *records = (struct ygg_records){.data = data, .size = size};
}

bool ygg_records_fit(const struct ygg_records *records, size_t length)
{
    return length <= UINT16_MAX && records->size - records->used >= LENGTH_BYTES &&
           records->size - records->used - LENGTH_BYTES >= length;
}

bool ygg_records_could_fit(const struct ygg_records *records, size_t length)
{
    return length <= UINT16_MAX && records->size >= LENGTH_BYTES && records->size - LENGTH_BYTES >= length;
}

uint8_t *ygg_records_append(struct ygg_records *records, size_t length)
{
    if (!ygg_records_fit(records, length)) {
        return NULL;
    }
    uint8_t *at = records->data + records->used;
    at[0] = (uint8_t)(length & 0xFFU);
    at[1] = (uint8_t)(length >> 8U);
    records->used += LENGTH_BYTES + length;
    return at + LENGTH_BYTES;
}

bool ygg_records_next(const struct ygg_records *records, struct ygg_record *record)
{
    if (record->next >= records->used) {
        return false;
    }
    uint8_t *at = records->data + record->next;
    record->length = (size_t)at[0] | (size_t)at[1] << 8U;
    record->data = at + LENGTH_BYTES;
    record->next += LENGTH_BYTES + record->length;
    return true;
}

void ygg_records_remove(struct ygg_records *records, struct ygg_record *record)
{
    size_t begin = record->next - record->length - LENGTH_BYTES;

    memmove(records->data + begin, records->data + record->next, records->used - record->next);
    records->used -= record->next - begin;
    record->next = begin;
}

void ygg_records_pop(struct ygg_records *records)
{
    struct ygg_record oldest = {0};

    if (ygg_records_next(records, &oldest)) {
        ygg_records_remove(records, &oldest);
    }
}
