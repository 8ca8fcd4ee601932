/* A log of records that survives power cuts. Drawn in ygg/flashlog.h. */
#include "ygg/flashlog.h"

#include <stdbool.h>
#include <string.h>

enum { PIECE_BYTES = 64 };

/* Four bits at a time: 64 bytes of table instead of a kilobyte. */
uint32_t ygg_crc32(uint32_t crc, const uint8_t *data, size_t size)
{
    static const uint32_t table[16] = {
        0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C,
        0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C, 0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C,
    };

    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc = table[(crc ^ data[i]) & 0xFU] ^ (crc >> 4U);
        crc = table[(crc ^ ((uint32_t)data[i] >> 4U)) & 0xFU] ^ (crc >> 4U);
    }
    return ~crc;
}

static uint32_t block_offset(const struct ygg_flashlog *log, uint32_t block)
{
    return log->offset + block * log->flash->block_bytes;
}

static uint32_t records_a_block(const struct ygg_flashlog *log)
{
    return log->flash->block_bytes / log->record_bytes;
}

static uint32_t crc_of(const struct ygg_flashlog *log, const uint8_t *record)
{
    return ygg_crc32(log->kind, record, log->record_bytes - YGG_FLASHLOG_TAIL_BYTES);
}

/* Whether the record in the buffer is complete. */
static bool is_whole(const struct ygg_flashlog *log, const uint8_t *record)
{
    return ygg_get32(record + log->record_bytes - YGG_FLASHLOG_TAIL_BYTES) == crc_of(log, record);
}

static bool is_erased(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != YGG_FLASH_ERASED) {
            return false;
        }
    }
    return true;
}

/* Finds the newest record of a block, if it is newer than the one found so far, and the place after the last one
 * used. */
static enum ygg_err scan_block(struct ygg_flashlog *log, uint32_t block, uint8_t *record, uint32_t *found)
{
    uint32_t offset = block_offset(log, block);
    uint32_t end = offset + records_a_block(log) * log->record_bytes;
    uint32_t free = offset;
    bool newest = false;

    for (; offset < end; offset += log->record_bytes) {
        if (ygg_flash_read(log->flash, offset, record, log->record_bytes) != YGG_OK) {
            return YGG_ERR_IO;
        }
        if (!is_erased(record, log->record_bytes)) {
            free = offset + log->record_bytes;
        }
        if (is_whole(log, record) && ygg_get32(record) > log->sequence) {
            log->sequence = ygg_get32(record);
            *found = offset;
            newest = true;
        }
    }
    if (newest) {
        log->block = block;
        log->next = free;
    }
    return YGG_OK;
}

enum ygg_err ygg_flashlog_open(struct ygg_flashlog *log, uint8_t *record)
{
    uint32_t found = 0;

    log->sequence = 0;
    log->block = 1; /* Without records, the first one goes to block 0. */
    for (uint32_t block = 0; block < YGG_FLASHLOG_BLOCKS; block++) {
        if (scan_block(log, block, record, &found) != YGG_OK) {
            return YGG_ERR_IO;
        }
    }
    if (log->sequence == 0) {
        return YGG_ERR_NOT_FOUND;
    }
    return ygg_flash_read(log->flash, found, record, log->record_bytes);
}

/* Finds the place of the next record: in the newest record's block or, if that is full, in the other one, erased. */
static enum ygg_err find_place(struct ygg_flashlog *log)
{
    uint32_t home = block_offset(log, log->block);

    if (log->sequence != 0 && log->next >= home && log->next < home + records_a_block(log) * log->record_bytes) {
        return YGG_OK;
    }
    log->next = block_offset(log, 1U - log->block);
    return ygg_flash_erase(log->flash, log->next);
}

/* Compares the programmed record with the intended one. */
static enum ygg_err read_back(const struct ygg_flashlog *log, const uint8_t *record)
{
    uint8_t piece[PIECE_BYTES];

    for (uint32_t at = 0; at < log->record_bytes; at += PIECE_BYTES) {
        uint32_t size = log->record_bytes - at < PIECE_BYTES ? log->record_bytes - at : PIECE_BYTES;

        if (ygg_flash_read(log->flash, log->next + at, piece, size) != YGG_OK ||
            memcmp(piece, record + at, size) != 0) {
            return YGG_ERR_IO;
        }
    }
    return YGG_OK;
}

enum ygg_err ygg_flashlog_append(struct ygg_flashlog *log, uint8_t *record)
{
    enum ygg_err err = find_place(log);

    if (err != YGG_OK) {
        return err;
    }
    ygg_put32(record, log->sequence + 1);
    ygg_put32(record + log->record_bytes - YGG_FLASHLOG_TAIL_BYTES, crc_of(log, record));
    err = ygg_flash_program(log->flash, log->next, record, log->record_bytes);
    if (err == YGG_OK) {
        err = read_back(log, record);
    }
    if (err == YGG_OK) {
        log->sequence++;
        log->block = log->next < block_offset(log, 1) ? 0 : 1;
    }
    log->next += log->record_bytes; /* Never written again, whatever it holds now. */
    return err;
}
