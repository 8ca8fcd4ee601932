/* A NOR flash in RAM that enforces the rules, and whose power fails at a chosen operation.
 *
 * Power fails either before the operation or during it (a tear). After a torn program some bytes are written, and some
 * bits of others; after a torn erase any byte of the block may be old, erased or in between. Tears are derived from
 * `random`, so a run can be repeated. A cut calls `on_cut`, which does not return: the CPU stops too. */
#ifndef YGG_TESTS_RAM_FLASH_H
#define YGG_TESTS_RAM_FLASH_H

#include <stdbool.h>

#include "ygg/flash.h"

enum { RAM_FLASH_BYTES_MAX = 1 << 15, RAM_FLASH_BLOCKS_MAX = 64 };

struct ram_flash {
    uint8_t bytes[RAM_FLASH_BYTES_MAX];
    bool torn_erase[RAM_FLASH_BLOCKS_MAX]; /* Its erase was interrupted: it must be erased again. */
    struct ygg_flash flash;
    uint64_t random;
    uint32_t operations; /* Programs and erases since the test set it to 0. */
    uint32_t cut_at;     /* Operation at which power fails, 1 for the first; 0: none. */
    bool tear;           /* Power fails during the operation. */
    void (*on_cut)(void *ctx);
    void *on_cut_ctx;
    uint32_t fail_at; /* Operation that returns YGG_ERR_IO and does nothing; 0: none. */
    uint32_t weak_at; /* Program that returns YGG_OK but flips one bit; 0: none. */
    uint32_t broken;  /* Violations of the rules: programming bytes that are not erased, or out of bounds. */
};

/* Initialises an erased flash without a power cut. `blocks` × `block_bytes` is at most RAM_FLASH_BYTES_MAX. */
void ram_flash_init(struct ram_flash *ram, uint32_t block_bytes, uint32_t blocks, uint64_t seed);

/* Returns repeatable random bytes. */
uint64_t ram_flash_random(struct ram_flash *ram);

#endif
