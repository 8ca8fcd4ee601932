/* Writes images to the spare slot. Drawn in ygg/install.h. */
#include "ygg/install.h"

#include <string.h>

enum { HEAD_KIND = 0x59474A31 };

/* The journal's head. */
enum {
    HEAD_LENGTH = 0,
    HEAD_COUNTER = 4,
    HEAD_SEQUENCE = 8,
    HEAD_SLOT = 12,
    HEAD_DIGEST = 16,
    HEAD_ROOT = HEAD_DIGEST + YGG_DIGEST_BYTES,
    HEAD_MARKED = HEAD_ROOT + YGG_DIGEST_BYTES,
    HEAD_CRC = YGG_JOURNAL_HEAD_BYTES - 4
};

_Static_assert(HEAD_MARKED < HEAD_CRC && YGG_JOURNAL_HEAD_BYTES % YGG_FLASH_UNIT_BYTES == 0, "the head has room");

static uint32_t min(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

uint32_t ygg_journal_bytes(uint32_t slot_bytes, uint32_t block_bytes)
{
    uint32_t bytes = YGG_JOURNAL_HEAD_BYTES + slot_bytes / block_bytes * YGG_JOURNAL_MARK_BYTES;

    return (bytes + block_bytes - 1) / block_bytes * block_bytes;
}

static uint32_t block_bytes(const struct ygg_boot *boot)
{
    return boot->layout->flash->block_bytes;
}

static void make_head(const struct ygg_boot *boot, const struct ygg_image *image, const uint8_t *chunks_root,
                      bool marked, uint8_t *head)
{
    memset(head, 0, YGG_JOURNAL_HEAD_BYTES);
    ygg_put32(head + HEAD_LENGTH, image->length);
    ygg_put32(head + HEAD_COUNTER, image->counter);
    ygg_put32(head + HEAD_SEQUENCE, image->sequence);
    head[HEAD_SLOT] = (uint8_t)ygg_boot_spare(boot);
    memcpy(head + HEAD_DIGEST, image->digest, YGG_DIGEST_BYTES);
    memcpy(head + HEAD_ROOT, chunks_root, YGG_DIGEST_BYTES);
    head[HEAD_MARKED] = marked ? 1 : 0;
    ygg_put32(head + HEAD_CRC, ygg_crc32(HEAD_KIND, head, HEAD_CRC));
}

/* --- marks -------------------------------------------------------------------------------------------------------- */

static uint32_t mark_offset(const struct ygg_boot *boot, uint32_t index)
{
    return boot->layout->journal + YGG_JOURNAL_HEAD_BYTES + index * YGG_JOURNAL_MARK_BYTES;
}

static void make_mark(uint32_t head_crc, uint32_t index, uint8_t *mark)
{
    memset(mark, 0, YGG_JOURNAL_MARK_BYTES);
    ygg_put32(mark, index);
    ygg_put32(mark + YGG_JOURNAL_MARK_BYTES - 4, ygg_crc32(head_crc, mark, YGG_JOURNAL_MARK_BYTES - 4));
}

/* Number of blocks that are written according to the marks. */
static uint32_t count_marked(const struct ygg_boot *boot, uint32_t head_crc)
{
    uint8_t mark[YGG_JOURNAL_MARK_BYTES];
    uint8_t expected[YGG_JOURNAL_MARK_BYTES];
    uint32_t blocks = boot->layout->slot_bytes / block_bytes(boot);
    uint32_t marked = 0;

    for (uint32_t i = 0; i < blocks; i++) {
        make_mark(head_crc, i, expected);
        if (ygg_flash_read(boot->layout->flash, mark_offset(boot, i), mark, sizeof mark) == YGG_OK &&
            memcmp(mark, expected, sizeof mark) == 0) {
            marked = i + 1;
        }
    }
    return marked;
}

/* Writes a mark, unless a torn one occupies its place; a later mark covers it. */
static enum ygg_err put_mark(const struct ygg_install *install, uint32_t index)
{
    const struct ygg_flash *flash = install->boot->layout->flash;
    uint32_t offset = mark_offset(install->boot, index);
    uint8_t mark[YGG_JOURNAL_MARK_BYTES];

    enum ygg_err err = ygg_flash_read(flash, offset, mark, sizeof mark);
    for (size_t i = 0; i < sizeof mark && err == YGG_OK; i++) {
        if (mark[i] != YGG_FLASH_ERASED) {
            return YGG_OK;
        }
    }
    make_mark(install->head_crc, index, mark);
    return err == YGG_OK ? ygg_flash_program(flash, offset, mark, sizeof mark) : err;
}

/* --- beginning ---------------------------------------------------------------------------------------------------- */

uint32_t ygg_install_resume_offset(const struct ygg_boot *boot, const struct ygg_image *image,
                                   const uint8_t *chunks_root)
{
    uint8_t expected[YGG_JOURNAL_HEAD_BYTES];
    uint8_t head[YGG_JOURNAL_HEAD_BYTES];

    make_head(boot, image, chunks_root, true, expected);
    if (ygg_flash_read(boot->layout->flash, boot->layout->journal, head, sizeof head) != YGG_OK ||
        memcmp(head, expected, sizeof head) != 0) {
        return 0;
    }
    uint64_t found = (uint64_t)count_marked(boot, ygg_get32(head + HEAD_CRC)) * block_bytes(boot);
    return found < image->length ? (uint32_t)found : image->length;
}

static enum ygg_err erase_journal(const struct ygg_boot *boot)
{
    const struct ygg_layout *layout = boot->layout;
    enum ygg_err err = YGG_OK;

    for (uint32_t at = 0; at < layout->journal_bytes && err == YGG_OK; at += block_bytes(boot)) {
        err = ygg_flash_erase(layout->flash, layout->journal + at);
    }
    return err;
}

enum ygg_err ygg_install_begin(struct ygg_install *install, const struct ygg_image *image, const uint8_t *chunks_root,
                               uint64_t update_id, uint32_t from, bool marked)
{
    struct ygg_boot *boot = install->boot;
    uint8_t head[YGG_JOURNAL_HEAD_BYTES];

    install->open = false;
    if (image->length == 0 || image->length > boot->layout->slot_bytes || from > image->length) {
        return YGG_ERR_TOO_LONG;
    }
    make_head(boot, image, chunks_root, marked, head);
    enum ygg_err err = ygg_boot_claim(boot, update_id);
    if (err == YGG_OK && from == 0) {
        err = erase_journal(boot);
        if (err == YGG_OK) {
            err = ygg_flash_program(boot->layout->flash, boot->layout->journal, head, sizeof head);
        }
    }
    if (err == YGG_OK) {
        install->image = *image;
        install->head_crc = ygg_get32(head + HEAD_CRC);
        install->marked = marked;
        install->written = from;
        install->tail_used = 0;
        install->open = true;
    }
    return err;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

/* Programs whole units at `at` of the image, within one block. */
static enum ygg_err program(const struct ygg_install *install, uint32_t at, const uint8_t *data, uint32_t size)
{
    const struct ygg_layout *layout = install->boot->layout;
    uint32_t block = block_bytes(install->boot);
    uint32_t slot = layout->slots[install->boot->claimed];
    enum ygg_err err = at % block == 0 ? ygg_flash_erase(layout->flash, slot + at) : YGG_OK;

    if (err == YGG_OK) {
        err = ygg_flash_program(layout->flash, slot + at, data, size);
    }
    bool full = (at + size) % block == 0;
    return err == YGG_OK && full && install->marked ? put_mark(install, at / block) : err;
}

/* Writes some of the data: whole units straight to flash, remaining bytes to the tail. Returns the bytes written; 0 on
 * error, in `err`. */
static size_t take(struct ygg_install *install, const uint8_t *data, size_t size, enum ygg_err *err)
{
    uint32_t block = block_bytes(install->boot);
    uint32_t at = install->written - install->tail_used;
    uint32_t room = block - at % block;

    if (install->tail_used == 0 && size >= YGG_FLASH_UNIT_BYTES) {
        uint32_t whole = min(room, (uint32_t)size) / YGG_FLASH_UNIT_BYTES * YGG_FLASH_UNIT_BYTES;

        *err = program(install, at, data, whole);
        return *err == YGG_OK ? whole : 0;
    }
    uint32_t part = min(YGG_FLASH_UNIT_BYTES - install->tail_used, (uint32_t)size);
    memcpy(install->tail + install->tail_used, data, part);
    if (install->tail_used + part == YGG_FLASH_UNIT_BYTES) {
        *err = program(install, at, install->tail, YGG_FLASH_UNIT_BYTES);
        install->tail_used = 0;
    } else {
        install->tail_used = (uint8_t)(install->tail_used + part);
    }
    return *err == YGG_OK ? part : 0;
}

enum ygg_err ygg_install_write(struct ygg_install *install, const uint8_t *data, size_t size)
{
    enum ygg_err err = YGG_OK;

    if (!install->open) {
        return YGG_ERR_STATE;
    }
    if (size > install->image.length - install->written) {
        return YGG_ERR_TOO_LONG;
    }
    while (size > 0) {
        size_t taken = take(install, data, size, &err);

        if (taken == 0) {
            install->open = false;
            return err;
        }
        install->written += (uint32_t)taken;
        data += taken;
        size -= taken;
    }
    return YGG_OK;
}

/* Programs the tail, padded with erased bytes. */
static enum ygg_err flush(struct ygg_install *install)
{
    uint32_t at = install->written - install->tail_used;

    if (install->tail_used == 0) {
        return YGG_OK;
    }
    memset(install->tail + install->tail_used, YGG_FLASH_ERASED, YGG_FLASH_UNIT_BYTES - install->tail_used);
    install->tail_used = 0;
    return program(install, at, install->tail, YGG_FLASH_UNIT_BYTES);
}

/* A last block that is not full has no mark: after a power cut it is written again. */
enum ygg_err ygg_install_finish(struct ygg_install *install)
{
    if (!install->open) {
        return YGG_ERR_STATE;
    }
    if (install->written != install->image.length) {
        return YGG_ERR_MALFORMED;
    }
    enum ygg_err err = flush(install);
    install->open = false;
    if (err == YGG_OK) {
        err = ygg_boot_stage(install->boot, &install->image);
    }
    if (err == YGG_ERR_MALFORMED) {
        /* The marks cover wrong bytes. If this fails, the next attempt detects them. */
        (void)ygg_install_discard(install);
    }
    return err;
}

enum ygg_err ygg_install_discard(struct ygg_install *install)
{
    install->open = false;
    return erase_journal(install->boot);
}
