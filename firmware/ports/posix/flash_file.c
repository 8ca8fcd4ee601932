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

/* A program that breaks the rules of flash would destroy data on a real one: better none than that. */
static void panic(const char *what, uint32_t offset)
{
    (void)fprintf(stderr, "ygg-agent: flash: %s at offset %u\n", what, offset);
    abort();
}

static enum ygg_err file_read(void *ctx, uint32_t offset, void *out, size_t size)
{
    const struct flash_file *file = ctx;
    uint8_t *to = out;

    if (!inside(file, offset, size)) {
        return YGG_ERR_ARGUMENT;
    }
    for (size_t i = 0; i < size; i++) {
        to[i] = (uint8_t)~file->mapped[offset + i];
    }
    return YGG_OK;
}

static enum ygg_err file_program(void *ctx, uint32_t offset, const void *data, size_t size)
{
    const struct flash_file *file = ctx;
    const uint8_t *from = data;

    if (!inside(file, offset, size) || offset % YGG_FLASH_UNIT_BYTES != 0 || size % YGG_FLASH_UNIT_BYTES != 0) {
        panic("program out of bounds", offset);
    }
    for (size_t i = 0; i < size; i++) {
        if (file->mapped[offset + i] != 0) {
            panic("program of what is not erased", offset + (uint32_t)i);
        }
    }
    for (size_t i = 0; i < size; i++) {
        file->mapped[offset + i] = (uint8_t)~from[i];
    }
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
        memset(file->mapped + offset, 0, block); /* A file system without holes. */
    }
    return YGG_OK;
}

static const struct ygg_flash_ops ops = {.read = file_read, .program = file_program, .erase = file_erase};

static bool complain(char reason[FLASH_FILE_REASON_BYTES], const char *path, const char *what)
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
        return complain(reason, path, strerror(errno));
    }
    const char *wrong = NULL;
    if (flock(file->fd, LOCK_EX | LOCK_NB) != 0) {
        wrong = "another process uses it";
    } else if (found.st_size == 0 && ftruncate(file->fd, size) != 0) {
        wrong = strerror(errno);
    } else if (found.st_size != 0 && found.st_size != size) {
        wrong = "it was made with another --slot-bytes";
    } else {
        void *mapped = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);

        file->mapped = mapped == MAP_FAILED ? NULL : mapped;
        wrong = file->mapped == NULL ? strerror(errno) : NULL;
    }
    if (wrong != NULL) {
        flash_file_close(file);
        return complain(reason, path, wrong);
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
