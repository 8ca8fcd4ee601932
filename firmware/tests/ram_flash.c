#include "tests/ram_flash.h"

#include <stdlib.h>
#include <string.h>

uint64_t ram_flash_random(struct ram_flash *ram)
{
    ram->random ^= ram->random >> 12U;
    ram->random ^= ram->random << 25U;
    ram->random ^= ram->random >> 27U;
    return ram->random * UINT64_C(0x2545F4914F6CDD1D);
}

static bool inside(const struct ram_flash *ram, uint32_t offset, size_t size)
{
    return (uint64_t)offset + size <= (uint64_t)ram->flash.block_bytes * ram->flash.blocks;
}

static enum ygg_err ram_read(void *ctx, uint32_t offset, void *out, size_t size)
{
    struct ram_flash *ram = ctx;

    if (!inside(ram, offset, size)) {
        ram->broken++;
        return YGG_ERR_ARGUMENT;
    }
    memcpy(out, ram->bytes + offset, size);
    return YGG_OK;
}

/* Whether power fails now, before or during the operation. */
static bool is_cut(struct ram_flash *ram)
{
    ram->operations++;
    return ram->operations == ram->cut_at;
}

static void cut(struct ram_flash *ram)
{
    ram->on_cut(ram->on_cut_ctx);
    abort(); /* on_cut returned. */
}

static void tear_program(struct ram_flash *ram, uint32_t offset, const uint8_t *data, size_t size)
{
    uint64_t how = ram_flash_random(ram);
    size_t whole = (size_t)(ram_flash_random(ram) % (size + 1));

    for (size_t i = 0; i < size; i++) {
        if ((how & 1U) != 0 && i >= whole) {
            return; /* Only the first bytes are written. */
        }
        ram->bytes[offset + i] &= (how & 1U) != 0 ? data[i] : (uint8_t)(data[i] | (uint8_t)ram_flash_random(ram));
    }
}

static void tear_erase(struct ram_flash *ram, uint32_t offset)
{
    uint64_t how = ram_flash_random(ram) % 4U;
    uint32_t whole = (uint32_t)(ram_flash_random(ram) % ram->flash.block_bytes);

    for (uint32_t i = 0; i < ram->flash.block_bytes; i++) {
        uint8_t bits = how == 0 ? (uint8_t)ram_flash_random(ram) : how == 1 ? 0 : i < whole ? 0xFF : 0;

        /* Reads as erased but is not: the worst case. */
        ram->bytes[offset + i] |= how == 3 ? 0xFF : bits;
    }
    ram->torn_erase[offset / ram->flash.block_bytes] = true;
}

static enum ygg_err ram_program(void *ctx, uint32_t offset, const void *data, size_t size)
{
    struct ram_flash *ram = ctx;
    const uint8_t *from = data;

    if (!inside(ram, offset, size) || offset % YGG_FLASH_UNIT_BYTES != 0 || size % YGG_FLASH_UNIT_BYTES != 0) {
        ram->broken++;
        return YGG_ERR_ARGUMENT;
    }
    for (size_t i = 0; i < size; i++) {
        if (ram->bytes[offset + i] != YGG_FLASH_ERASED || ram->torn_erase[(offset + i) / ram->flash.block_bytes]) {
            ram->broken++;
            return YGG_ERR_STATE;
        }
    }
    if (is_cut(ram)) {
        if (ram->tear) {
            tear_program(ram, offset, from, size);
        }
        cut(ram);
    }
    if (ram->operations == ram->fail_at) {
        return YGG_ERR_IO;
    }
    memcpy(ram->bytes + offset, from, size);
    if (ram->operations == ram->weak_at) {
        ram->bytes[offset + 1] ^= 1U;
    }
    return YGG_OK;
}

static enum ygg_err ram_erase(void *ctx, uint32_t offset)
{
    struct ram_flash *ram = ctx;

    if (!inside(ram, offset, ram->flash.block_bytes) || offset % ram->flash.block_bytes != 0) {
        ram->broken++;
        return YGG_ERR_ARGUMENT;
    }
    if (is_cut(ram)) {
        if (ram->tear) {
            tear_erase(ram, offset);
        }
        cut(ram);
    }
    if (ram->operations == ram->fail_at) {
        return YGG_ERR_IO;
    }
    memset(ram->bytes + offset, YGG_FLASH_ERASED, ram->flash.block_bytes);
    ram->torn_erase[offset / ram->flash.block_bytes] = false;
    return YGG_OK;
}

static const struct ygg_flash_ops ops = {.read = ram_read, .program = ram_program, .erase = ram_erase};

void ram_flash_init(struct ram_flash *ram, uint32_t block_bytes, uint32_t blocks, uint64_t seed)
{
    memset(ram, 0, sizeof *ram);
    memset(ram->bytes, YGG_FLASH_ERASED, (size_t)block_bytes * blocks);
    ram->random = seed * 2U + 1U;
    ram->flash = (struct ygg_flash){.ops = &ops, .ctx = ram, .block_bytes = block_bytes, .blocks = blocks};
}
