/* Putting an image into the spare slot: byte after byte, never more than was announced, and on from where a cut left it.
 *
 * The journal says how far it is:
 *
 *        | image, 112 bytes, CRC | mark 0 | mark 1 | ...      one mark of 16 bytes for each erase block of the slot
 *
 *        mark n: blocks 0 to n of the slot are written. A torn mark is none; a later one says the same and more.
 *
 * A block is erased just before its first byte is written, so what a cut left half written is erased again. What the
 * bytes are worth is for others to say: the caller has checked each chunk, and ygg_boot_stage hashes what is in flash. */
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
    uint32_t head_crc; /* Of the journal's head: marks of another image do not fit. */
    bool marked;       /* Progress is recorded. */
    uint8_t tail_used;
    uint8_t tail[YGG_FLASH_UNIT_BYTES];
};

/* Bytes of flash that the journal takes, a multiple of the block. */
uint32_t ygg_journal_bytes(uint32_t slot_bytes, uint32_t block_bytes);

/* How many bytes of an image are in the spare slot already, a multiple of the block or the whole length. Changes nothing.
 * `chunks_root` tells images of one digest that are cut otherwise. */
uint32_t ygg_install_resume_offset(const struct ygg_boot *boot, const struct ygg_image *image, const uint8_t *chunks_root);

/* Claims the spare slot and gets ready to write from byte `from` on: 0, or what ygg_install_resume_offset said. With `marked`
 * progress is recorded, else a cut means the beginning. YGG_ERR_STATE, YGG_ERR_TOO_LONG, YGG_ERR_IO: see ygg_boot_claim. */
enum ygg_err ygg_install_begin(struct ygg_install *install, const struct ygg_image *image, const uint8_t *chunks_root,
                               uint64_t update_id, uint32_t from, bool marked);

/* The next bytes. YGG_ERR_TOO_LONG: more than the image's length; nothing was written. YGG_ERR_IO. YGG_ERR_STATE: not begun. */
enum ygg_err ygg_install_write(struct ygg_install *install, const uint8_t *data, size_t size);

/* The image is complete: reads it back, and makes it the one to try. YGG_ERR_MALFORMED: bytes are missing, or they are
 * not the image: then what is there is forgotten. Others as ygg_boot_stage. */
enum ygg_err ygg_install_finish(struct ygg_install *install);

/* Forgets what is in the spare slot. YGG_ERR_IO. */
enum ygg_err ygg_install_discard(struct ygg_install *install);

#endif
