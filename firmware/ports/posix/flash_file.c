#include "ports/posix/flash_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static size_t size_of(const struct flash_file *file)
{
    return (size_t)file->flash.block_bytes * file->flash.blocks;
}

static bool inside(const struct flash_file *file, uint32_t offset, size_t size)
{
    return (uint64_t)offset + size <= size_of(file);
}

/* Aborts: a program that breaks the rules of flash would destroy data on real hardware. */
static void panic(const char *what, uint32_t offset)
{
    (void)fprintf(stderr, "ygg-agent: flash: %s at offset %u\n", what, offset);
    abort();
}

/* The file stores the complement of every byte, so that a hole reads as erased flash. Copies words where possible. */
static void copy_inverted(uint8_t *to, const uint8_t *from, size_t size)
{
    uint64_t word = 0;

    for (; size >= sizeof word; size -= sizeof word, to += sizeof word, from += sizeof word) {
        memcpy(&word, from, sizeof word);
        word = ~word;
        memcpy(to, &word, sizeof word);
    }
    for (size_t i = 0; i < size; i++) {
        to[i] = (uint8_t)~from[i];
    }
}

/* Returns the offset of the first byte that is not erased; `size` if all are. */
static size_t first_used(const uint8_t *from, size_t size)
{
    uint64_t word = 0;
    size_t at = 0;

    for (; size - at >= sizeof word && word == 0; at += sizeof word) {
        memcpy(&word, from + at, sizeof word);
    }
    for (at -= word == 0 ? 0 : sizeof word; at < size && from[at] == 0; at++) {
    }
    return at;
}

static enum ygg_err file_read(void *ctx, uint32_t offset, void *out, size_t size)
{
    const struct flash_file *file = ctx;

    if (!inside(file, offset, size)) {
        return YGG_ERR_ARGUMENT;
    }
    copy_inverted(out, file->mapped + offset, size);
    return YGG_OK;
}

static enum ygg_err file_program(void *ctx, uint32_t offset, const void *data, size_t size)
{
    const struct flash_file *file = ctx;

    if (!inside(file, offset, size) || offset % YGG_FLASH_UNIT_BYTES != 0 || size % YGG_FLASH_UNIT_BYTES != 0) {
        panic("program out of bounds", offset);
    }
    size_t used = first_used(file->mapped + offset, size);
    if (used < size) {
        panic("program of a byte that is not erased", offset + (uint32_t)used);
    }
    copy_inverted(file->mapped + offset, data, size);
    return YGG_OK;
}

static enum ygg_err file_erase(void *ctx, uint32_t offset)
{
    const struct flash_file *file = ctx;
    const uint32_t block = file->flash.block_bytes;

    if (!inside(file, offset, block) || offset % block != 0) {
        panic("erase out of bounds", offset);
    }
    if (fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)block) != 0) {
        memset(file->mapped + offset, 0, block); /* The file system has no holes. */
    }
    return YGG_OK;
}

static const struct ygg_flash_ops ops = {.read = file_read, .program = file_program, .erase = file_erase};

static bool fail(char reason[FLASH_FILE_REASON_BYTES], const char *path, const char *what)
{
    (void)snprintf(reason, FLASH_FILE_REASON_BYTES, "cannot use the flash %s: %s", path, what);
    return false;
}

bool flash_file_open(struct flash_file *file, const char *path, uint32_t blocks, char reason[FLASH_FILE_REASON_BYTES])
{
    struct stat found = {0};

    *file = (struct flash_file){.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
    file->flash = (struct ygg_flash){.ops = &ops, .ctx = file, .block_bytes = FLASH_FILE_BLOCK_BYTES, .blocks = blocks};
    off_t size = (off_t)size_of(file);
    if (file->fd < 0 || fstat(file->fd, &found) != 0) {
        return fail(reason, path, strerror(errno));
    }
    const char *wrong = NULL;
    if (flock(file->fd, LOCK_EX | LOCK_NB) != 0) {
        wrong = "another process uses it";
    } else if (found.st_size == 0 && ftruncate(file->fd, size) != 0) {
        wrong = strerror(errno);
    } else if (found.st_size != 0 && found.st_size != size) {
        wrong = "it was created with another --slot-bytes";
    } else {
        void *mapped = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);

        file->mapped = mapped == MAP_FAILED ? NULL : mapped;
        wrong = file->mapped == NULL ? strerror(errno) : NULL;
        if (wrong == NULL) {
            (void)madvise(mapped, (size_t)size, MADV_RANDOM); /* Best effort: reading ahead into holes is wasteful. */
        }
    }
    if (wrong != NULL) {
        flash_file_close(file);
        return fail(reason, path, wrong);
    }
    return true;
}

void flash_file_close(struct flash_file *file)
{
    if (file->mapped != NULL) {
        (void)munmap(file->mapped, size_of(file));
        file->mapped = NULL;
    }
    if (file->fd >= 0) {
        (void)close(file->fd);
        file->fd = -1;
    }
}
