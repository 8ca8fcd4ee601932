/* A flash in a file, with erase blocks and the rules of NOR: programming only clears bits, and only in erased units.
 *
 * The file stores the complement of each byte, so that erased blocks are holes and take no space on disk.
 * Memory-mapped: programmed data survives the process, and a power cut of the machine as far as the file system
 * guarantees. */
#ifndef YGG_PORTS_POSIX_FLASH_FILE_H
#define YGG_PORTS_POSIX_FLASH_FILE_H

#include <stdbool.h>

#include "ygg/flash.h"

enum { FLASH_FILE_BLOCK_BYTES = 4096, FLASH_FILE_REASON_BYTES = 512 };

struct flash_file {
    int fd; /* -1: none. */
    uint8_t *mapped;
    struct ygg_flash flash;
};

/* Opens a flash of `blocks` blocks, or creates it, erased. One process at a time. Returns false and a `reason` if the
 * file has another size, is in use, or cannot be opened. */
bool flash_file_open(struct flash_file *file, const char *path, uint32_t blocks, char reason[FLASH_FILE_REASON_BYTES]);
void flash_file_close(struct flash_file *file);

#endif
