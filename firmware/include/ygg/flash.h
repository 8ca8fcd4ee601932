/* Flash memory: a table of three functions and two sizes, filled in by the port.
 *
 * NOR rules apply. Erasing a block sets all of its bits; programming only clears bits. A unit is programmed once
 * between two erases of its block, so that memory with an error-correcting code or encryption works as well. Power may
 * fail during either operation: the affected bytes are then undefined, and a block with an interrupted erase is erased
 * again before anything is programmed there. The core obeys all of these rules; ports and tests may enforce them. */
#ifndef YGG_FLASH_H
#define YGG_FLASH_H

#include <stddef.h>
#include <stdint.h>

#include "ygg/err.h"

enum { YGG_FLASH_UNIT_BYTES = 16, YGG_FLASH_ERASED = 0xFF };

/* Each function is synchronous and returns YGG_ERR_IO if the hardware failed, and YGG_ERR_ARGUMENT if the range is
 * outside the flash or not aligned. */
struct ygg_flash_ops {
    /* Reads any range. */
    enum ygg_err (*read)(void *ctx, uint32_t offset, void *out, size_t size);
    /* Programs erased units; `offset` and `size` are multiples of YGG_FLASH_UNIT_BYTES. YGG_ERR_STATE: not erased (if
     * the port can detect it). */
    enum ygg_err (*program)(void *ctx, uint32_t offset, const void *data, size_t size);
    /* Erases the block at `offset`. */
    enum ygg_err (*erase)(void *ctx, uint32_t offset);
};

struct ygg_flash {
    const struct ygg_flash_ops *ops;
    void *ctx;
    uint32_t block_bytes; /* Size of an erase block; a multiple of YGG_FLASH_UNIT_BYTES. */
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
