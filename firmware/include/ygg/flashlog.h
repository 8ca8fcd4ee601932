/* A log of records that survives power cuts. Records are appended in turn to two erase blocks; the newest valid record
 * is the state.
 *
 *          block 0                              block 1
 *        +------+------+------+- - -+------+  +------+------+------+- - -+------+
 *        | r 28 | r 29 | torn |     | free |  | r 25 | r 26 | r 27 |     | r 27'|   <- older, erased when 0 is full
 *        +------+------+------+- - -+------+  +------+------+------+- - -+------+
 *                         ^ skipped   ^ next
 *
 *        record   | sequence: u32 | payload ...                        | CRC-32: u32 |      little-endian
 *                 '------------- covered by the CRC, seeded with the log's kind -----'
 *
 * Owns storage, not meaning. A record with an invalid CRC, erased or torn, is ignored; its place is not written again
 * before an erase. The block that is erased never holds the newest record. */
#ifndef YGG_FLASHLOG_H
#define YGG_FLASHLOG_H

#include "ygg/flash.h"

enum { YGG_FLASHLOG_BLOCKS = 2, YGG_FLASHLOG_HEAD_BYTES = 4, YGG_FLASHLOG_TAIL_BYTES = 4 };

struct ygg_flashlog {
    const struct ygg_flash *flash;
    uint32_t offset;       /* Offset of the first of the two blocks. */
    uint32_t kind;         /* Distinguishes the logs of one device from each other. */
    uint32_t record_bytes; /* A multiple of YGG_FLASH_UNIT_BYTES, at most a block. */
    uint32_t sequence;     /* Of the newest record; 0: no record. */
    uint32_t block;        /* Block that holds it: 0 or 1. */
    uint32_t next;         /* Offset after the last place used. */
};

/* Finds the newest record and reads it into `record` (record_bytes; the payload begins at YGG_FLASHLOG_HEAD_BYTES). The
 * caller sets flash, offset, kind and record_bytes before. YGG_ERR_NOT_FOUND: no record. YGG_ERR_IO: read failed. */
enum ygg_err ygg_flashlog_open(struct ygg_flashlog *log, uint8_t *record);

/* Appends `record`, with the payload filled in by the caller. On YGG_OK it is the newest record, durably. On YGG_ERR_IO
 * either the previous record or this one may be found later. */
enum ygg_err ygg_flashlog_append(struct ygg_flashlog *log, uint8_t *record);

/* Continues a CRC-32 (IEEE 802.3) over more bytes; start with 0 or a seed. */
uint32_t ygg_crc32(uint32_t crc, const uint8_t *data, size_t size);

/* Little-endian integers in records. */
static inline void ygg_put32(uint8_t *out, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++) {
        out[i] = (uint8_t)(value >> (8U * i));
    }
}

static inline uint32_t ygg_get32(const uint8_t *in)
{
    return (uint32_t)in[0] | (uint32_t)in[1] << 8U | (uint32_t)in[2] << 16U | (uint32_t)in[3] << 24U;
}

static inline void ygg_put64(uint8_t *out, uint64_t value)
{
    ygg_put32(out, (uint32_t)value);
    ygg_put32(out + 4, (uint32_t)(value >> 32U));
}

static inline uint64_t ygg_get64(const uint8_t *in)
{
    return (uint64_t)ygg_get32(in) | (uint64_t)ygg_get32(in + 4) << 32U;
}

#endif
