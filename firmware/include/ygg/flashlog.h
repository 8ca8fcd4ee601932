/* A state that survives power cuts: whole records, appended in turn to two erase blocks; the newest whole one holds.
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
 * Owns the storage, not the meaning. A record whose CRC does not fit, erased or torn, does not exist; its place is
 * not written again before an erase. The block that is erased never holds the newest record. */
#ifndef YGG_FLASHLOG_H
#define YGG_FLASHLOG_H

#include "ygg/flash.h"

enum { YGG_FLASHLOG_BLOCKS = 2, YGG_FLASHLOG_HEAD_BYTES = 4, YGG_FLASHLOG_TAIL_BYTES = 4 };

struct ygg_flashlog {
    const struct ygg_flash *flash;
    uint32_t offset;       /* Of the first of the two blocks. */
    uint32_t kind;         /* Tells the logs of one device from each other. */
    uint32_t record_bytes; /* A multiple of YGG_FLASH_UNIT_BYTES, at most a block. */
    uint32_t sequence;     /* Of the newest record; 0: there is none. */
    uint32_t block;        /* Which of the two holds it. */
    uint32_t next;         /* Offset of the place after the last one used. */
};

/* Finds the newest record and leaves it in `record` (record_bytes; the payload begins at YGG_FLASHLOG_HEAD_BYTES).
 * flash, offset, kind and record_bytes are set by the caller. YGG_ERR_NOT_FOUND: there is none. YGG_ERR_IO: cannot read. */
enum ygg_err ygg_flashlog_open(struct ygg_flashlog *log, uint8_t *record);

/* Appends what the caller has put into `record`'s payload; when it returns YGG_OK the record is the newest, for good. After
 * anything else either the one before or this one may be found. YGG_ERR_IO. */
enum ygg_err ygg_flashlog_append(struct ygg_flashlog *log, uint8_t *record);

/* CRC-32 (IEEE 802.3) of more bytes; the first call gives 0 or a seed. */
uint32_t ygg_crc32(uint32_t crc, const uint8_t *data, size_t size);

/* Little-endian numbers in records. */
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
