/* Applies a detools patch as a stream: sequential, compressed by CRLE or heatshrink, from one slot into another.
 *
 *     byte: type 0 << 4 | compression      size of the new image      compressed: the rest
 *     the rest: size of a data-format patch, always 0; then until the image is complete:
 *               | diff size | diff: added to bytes of the old image | extra size | extra | adjustment of the old offset |
 *     sizes: first byte  more(1) sign(1) value(6), others  more(1) value(7), least significant first
 *
 * Owns the format and its bounds: no byte of the old image is read beyond its end and none written beyond the new
 * length. Does not verify the result: its digest does. Source: detools 0.53, "File formats"; heatshrink 0.4. */
#ifndef YGG_CORE_PATCH_H
#define YGG_CORE_PATCH_H

#include "ygg/install.h"

enum { YGG_PATCH_WINDOW_BYTES = 256, YGG_PATCH_GATHER_BYTES = 64 };

/* Supported formats; OtaStatus.patch_formats. */
enum { YGG_PATCH_CRLE = 1, YGG_PATCH_HEATSHRINK = 2, YGG_PATCH_FORMATS = YGG_PATCH_CRLE | YGG_PATCH_HEATSHRINK };

struct ygg_patch {
    /* Set by the caller; all else is 0. */
    struct ygg_install *install; /* Destination of the new image; begun. */
    uint32_t from;               /* Offset of the old image in the flash. */
    uint32_t from_length;
    /* Private. */
    uint8_t part;        /* Parser state; patch.c. */
    uint8_t after;       /* Meaning of the current size; patch.c. */
    uint8_t compression; /* As in the patch. */
    uint8_t size_bits;   /* Bits of a size received so far; 0: none. */
    bool negative;
    uint64_t size;
    uint32_t left; /* Bytes of diff or extra to come. */
    int64_t at;    /* Offset in the old image. */
    uint8_t gathered;
    uint8_t gather[YGG_PATCH_GATHER_BYTES];
    struct {
        uint8_t part;
        uint8_t shift;
        uint32_t left;
    } crle;
    struct {
        uint8_t part;
        uint8_t window_bits; /* 0: before the header. */
        uint8_t count_bits;
        uint8_t have; /* Bits of the current field received so far. */
        uint16_t field;
        uint16_t back;
        uint16_t head;
        uint8_t window[YGG_PATCH_WINDOW_BYTES];
    } heatshrink;
};

/* Applies more bytes of the patch. YGG_ERR_MALFORMED: invalid patch. YGG_ERR_TOO_LONG: bytes after its end. Other
 * errors: see ygg_install_write. An error ends the patch. */
enum ygg_err ygg_patch_write(struct ygg_patch *patch, const uint8_t *data, size_t size);

/* Whether the patch is complete. */
bool ygg_patch_done(const struct ygg_patch *patch);

#endif
