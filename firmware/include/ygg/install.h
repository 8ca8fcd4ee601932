/* Writing an image to the spare slot: sequentially, never more than announced, and resumable after a power cut.
 *
 * The journal records the progress:
 *
 *        | image, 112 bytes, CRC | mark 0 | mark 1 | ...      one mark of 16 bytes for each erase block of the slot
 *
 *        mark n: blocks 0 to n of the slot are written. A torn mark is ignored; a later one covers it.
 *
 * A block is erased just before its first byte is written, so a block that was interrupted is erased again. Does not
 * own the verification of the bytes: the caller has checked each chunk, and ygg_boot_stage hashes the slot. */
#ifndef YGG_INSTALL_H
#define YGG_INSTALL_H

#include "ygg/boot.h"

enum { YGG_JOURNAL_HEAD_BYTES = 112, YGG_JOURNAL_MARK_BYTES = 16 };

struct ygg_install {
    struct ygg_boot *boot; /* Set by the caller. */
    /* Free to read. */
    struct ygg_image image;
    bool open;
    uint32_t written; /* Bytes of the image that are in flash or in `tail`. */
    /* Private. */
    uint32_t head_crc; /* CRC of the journal's head; seeds the marks, so that marks of another image are invalid. */
    bool marked;       /* Progress is recorded in the journal. */
    uint8_t tail_used;
    uint8_t tail[YGG_FLASH_UNIT_BYTES];
};

/* Returns the size of the journal in bytes, a multiple of the block. */
uint32_t ygg_journal_bytes(uint32_t slot_bytes, uint32_t block_bytes);

/* Returns how many bytes of an image are already in the spare slot: a multiple of the block, or the whole length.
 * Changes nothing. `chunks_root` (32 bytes) distinguishes images of the same digest with different chunks. */
uint32_t ygg_install_resume_offset(const struct ygg_boot *boot, const struct ygg_image *image,
                                   const uint8_t *chunks_root);

/* Claims the spare slot and prepares to write from byte `from`: 0, or the result of ygg_install_resume_offset. With
 * `marked` progress is recorded; without, an interrupted install restarts at 0. YGG_ERR_STATE, YGG_ERR_IO: see
 * ygg_boot_claim. YGG_ERR_TOO_LONG: the length is 0 or exceeds the slot, or `from` exceeds the length. */
enum ygg_err ygg_install_begin(struct ygg_install *install, const struct ygg_image *image, const uint8_t *chunks_root,
                               uint64_t update_id, uint32_t from, bool marked);

/* Writes the next bytes. YGG_ERR_TOO_LONG: more than the image's length; nothing was written. YGG_ERR_IO.
 * YGG_ERR_STATE: not begun. */
enum ygg_err ygg_install_write(struct ygg_install *install, const uint8_t *data, size_t size);

/* Verifies the complete image and makes it pending. YGG_ERR_MALFORMED: bytes are missing, or the digest differs; in the
 * latter case the slot's content is discarded. Other errors: see ygg_boot_stage. */
enum ygg_err ygg_install_finish(struct ygg_install *install);

/* Discards the content of the spare slot. YGG_ERR_IO. */
enum ygg_err ygg_install_discard(struct ygg_install *install);

#endif
