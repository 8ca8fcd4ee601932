/* Flash memory as the core needs it: a table of three functions and two sizes.
 *
 * NOR rules hold. Erasing a block sets all of its bits; programming only clears bits. A unit is programmed once between
 * two erases of its block, so that memory with an error-correcting code or encryption serves as well. Power may fail in
 * the middle of either: what was being written holds anything then, and a block whose erase was cut is erased again
 * before anything is programmed there. The core keeps to all of this; ports and tests may enforce it. */
#ifndef YGG_FLASH_H
#define YGG_FLASH_H

#include <stddef.h>
#include <stdint.h>

#include "ygg/err.h"

enum { YGG_FLASH_UNIT_BYTES = 16, YGG_FLASH_ERASED = 0xFF };

/* Each function answers YGG_ERR_IO where the hardware failed, and YGG_ERR_ARGUMENT where the range is not inside the
 * flash or not aligned. None returns before its work is done. */
struct ygg_flash_ops {
    /* Any range. */
    enum ygg_err (*read)(void *ctx, uint32_t offset, void *out, size_t size);
    /* `offset` and `size` are multiples of YGG_FLASH_UNIT_BYTES. YGG_ERR_STATE: not erased (where the port can tell). */
    enum ygg_err (*program)(void *ctx, uint32_t offset, const void *data, size_t size);
    /* The block that begins at `offset`. */
    enum ygg_err (*erase)(void *ctx, uint32_t offset);
};

struct ygg_flash {
    const struct ygg_flash_ops *ops;
    void *ctx;
    uint32_t block_bytes; /* Of one erase block; a multiple of YGG_FLASH_UNIT_BYTES. */
    uint32_t blocks;
};

static inline enum ygg_err ygg_flash_read(const struct ygg_flash *flash, uint32_t offset, void *out, size_t size)
{
    return flash->ops->read(flash->ctx, offset, out, size);
}

static inline enum ygg_err ygg_flash_program(const struct ygg_flash *flash, uint32_t offset, const void *data,
                                             size_t size)
{
    return flash->ops->program(flash->ctx, offset, data, size);
}

static inline enum ygg_err ygg_flash_erase(const struct ygg_flash *flash, uint32_t offset)
{
    return flash->ops->erase(flash->ctx, offset);
}

#endif
