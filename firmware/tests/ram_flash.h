/* A NOR flash in RAM that holds its user to the rules, and whose power fails at a chosen operation.
 *
 * A cut is either before the operation or in the middle of it (a tear): then a program has written some bytes, and
 * some bits of others; an erase has left a block in which any byte may be old, erased or between. What a tear leaves comes
 * from `random`, so a run can be repeated. After a cut `on_cut` is called, which does not return: the CPU stops too. */
#ifndef YGG_TESTS_RAM_FLASH_H
#define YGG_TESTS_RAM_FLASH_H

#include <stdbool.h>

#include "ygg/flash.h"

enum { RAM_FLASH_BYTES_MAX = 1 << 15, RAM_FLASH_BLOCKS_MAX = 64 };

struct ram_flash {
    uint8_t bytes[RAM_FLASH_BYTES_MAX];
    bool torn_erase[RAM_FLASH_BLOCKS_MAX]; /* Its erase was cut: it has to be erased again. */
    struct ygg_flash flash;
    uint64_t random;
    uint32_t operations; /* Programs and erases since the test set it to 0. */
    uint32_t cut_at;     /* The operation at which power fails, 1 for the first; 0: none. */
    bool tear;           /* In the middle of it. */
    void (*on_cut)(void *ctx);
    void *on_cut_ctx;
    uint32_t fail_at;    /* The operation that answers YGG_ERR_IO and does nothing; 0: none. */
    uint32_t weak_at;    /* The program that answers YGG_OK and leaves one bit set; 0: none. */
    uint32_t broken;     /* Rules that the user broke: a program of what is not erased, or out of bounds. */
};

/* Erased, with no power cut. `blocks` × `block_bytes` at most RAM_FLASH_BYTES_MAX. */
void ram_flash_init(struct ram_flash *ram, uint32_t block_bytes, uint32_t blocks, uint64_t seed);

/* Repeatable random bytes. */
uint64_t ram_flash_random(struct ram_flash *ram);

#endif
