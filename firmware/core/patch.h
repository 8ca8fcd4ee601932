/* Applies a detools patch as it comes: sequential, compressed by CRLE or heatshrink, from one slot into another.
 *
 *     byte: type 0 << 4 | compression      size of the new image      compressed: the rest
 *     the rest: size of a data-format patch, always 0; then until the image is complete:
 *               | diff size | diff: added to bytes of the old image | extra size | extra | how far to go on in the old one |
 *     sizes: first byte  more(1) sign(1) value(6), others  more(1) value(7), least significant first
 *
 * Owns the format and its bounds: no byte of the old image is read beyond it and none written beyond the new one's length.
 * Does not own what the result is worth: its digest decides. Source: detools 0.53, "File formats"; heatshrink 0.4. */
#ifndef YGG_CORE_PATCH_H
#define YGG_CORE_PATCH_H

#include "ygg/install.h"

enum { YGG_PATCH_WINDOW_BYTES = 256, YGG_PATCH_GATHER_BYTES = 64 };

/* What a device can apply; OtaStatus.patch_formats. */
enum { YGG_PATCH_CRLE = 1, YGG_PATCH_HEATSHRINK = 2, YGG_PATCH_FORMATS = YGG_PATCH_CRLE | YGG_PATCH_HEATSHRINK };

struct ygg_patch {
    /* Set by the caller; all else is 0. */
    struct ygg_install *install; /* Begun; the new image goes there. */
    uint32_t from;               /* Where the old image begins in the flash. */
    uint32_t from_length;
    /* Private. */
    uint8_t part;        /* What comes next; patch.c. */
    uint8_t after;       /* What comes after a size. */
    uint8_t compression; /* As in the patch. */
    uint8_t size_bits;   /* Bits of a size that have come; 0: it begins. */
    bool negative;
    uint64_t size;
    uint32_t left;       /* Bytes of diff or extra that are to come. */
    int64_t at;          /* In the old image. */
    uint8_t gathered;
    uint8_t gather[YGG_PATCH_GATHER_BYTES];
    struct {
        uint8_t part;
        uint8_t shift;
        uint32_t left;
    } crle;
    struct {
        uint8_t part;
        uint8_t window_bits; /* 0: its header is to come. */
        uint8_t count_bits;
        uint8_t have; /* Bits of the present field. */
        uint16_t field;
        uint16_t back;
        uint16_t head;
        uint8_t window[YGG_PATCH_WINDOW_BYTES];
    } heatshrink;
};

/* More bytes of the patch. YGG_ERR_MALFORMED: no such patch; YGG_ERR_TOO_LONG: it goes on after its end; others as
 * ygg_install_write. After an error the patch is over. */
enum ygg_err ygg_patch_write(struct ygg_patch *patch, const uint8_t *data, size_t size);

/* Whether the patch has come to its end. */
bool ygg_patch_done(const struct ygg_patch *patch);

#endif
