#include "ports/posix/slots.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ports/posix/platform.h"
#include "ports/posix/verify.h"

enum { BOOTS_MAX = 3, PATH_BYTES = 4096, PIECE_BYTES = 4096, WATCHDOG_SPARE_S = 15 };

static const char slot_variable[] = "YGG_SLOT";
static const char bootloader_variable[] = "YGG_BOOTLOADER";
static const char self[] = "/proc/self/exe";

static bool fail(char reason[FLASH_FILE_REASON_BYTES], const char *what, const char *why)
{
    (void)snprintf(reason, FLASH_FILE_REASON_BYTES, "%s: %s", what, why);
    return false;
}

/* --- the flash ------------------------------------------------------------------------------------------------------ */

/* Reads a whole file. Returns the bytes read; SIZE_MAX if it is unreadable or larger than `max`. */
static size_t read_file(const char *path, uint8_t *out, size_t max)
{
    FILE *file = fopen(path, "rbe");
    size_t size = file == NULL ? SIZE_MAX : fread(out, 1, max, file);

    if (file != NULL) {
        size = ferror(file) != 0 || fgetc(file) != EOF ? SIZE_MAX : size;
        (void)fclose(file);
    }
    return size;
}

static struct ygg_layout make_layout(const struct ygg_flash *flash, uint32_t slot_bytes)
{
    const uint32_t block = flash->block_bytes;
    const uint32_t journal = ygg_journal_bytes(slot_bytes, block);
    const uint32_t before = 4 * block + journal;

    return (struct ygg_layout){.flash = flash,
                               .records = 0,
                               .trust = 2 * block,
                               .journal = 4 * block,
                               .journal_bytes = journal,
                               .slots = {before, before + slot_bytes},
                               .slot_bytes = slot_bytes};
}

static bool open_boot(struct slots *slots, const struct options *options, enum ygg_slot running)
{
    slots->boot = (struct ygg_boot){.layout = &slots->layout,
                                    .hash = &posix_hash,
                                    .hash_ctx = slots->hash,
                                    .counter_floor_min = options->security_counter,
                                    .boots_max = BOOTS_MAX,
                                    .running = running};
    return ygg_boot_open(&slots->boot) == YGG_OK;
}

bool slots_open(struct slots *slots, const char *path, const struct options *options,
                char reason[FLASH_FILE_REASON_BYTES])
{
    const struct ygg_flash shape = {.block_bytes = FLASH_FILE_BLOCK_BYTES};
    const struct ygg_layout layout = make_layout(&shape, options->slot_bytes);
    uint32_t blocks = (layout.slots[YGG_SLOT_B] + options->slot_bytes) / FLASH_FILE_BLOCK_BYTES;

    *slots = (struct slots){.file = {.fd = -1}, .hash = EVP_MD_CTX_new()};
    size_t root_size = read_file(options->ota_root, slots->root, sizeof slots->root);
    if (root_size == SIZE_MAX || slots->hash == NULL) {
        return fail(reason, options->ota_root, "cannot be read as a root of at most 1536 bytes");
    }
    if (!flash_file_open(&slots->file, path, blocks, reason)) {
        return false;
    }
    slots->layout = make_layout(&slots->file.flash, options->slot_bytes);
    slots->ota = (struct ygg_ota){.boot = &slots->boot,
                                  .verify = &posix_verify,
                                  .first_root = slots->root,
                                  .first_root_size = root_size,
                                  .trial_ms = options->trial_ms};
    return open_boot(slots, options, YGG_SLOT_NONE) || fail(reason, path, "its boot state cannot be read");
}

void slots_close(struct slots *slots)
{
    flash_file_close(&slots->file);
    EVP_MD_CTX_free(slots->hash);
    slots->hash = NULL;
}

/* --- the factory ---------------------------------------------------------------------------------------------------- */

/* Programs a file into slot A, padded to whole units with erased bytes. Returns its length; 0 if it is empty, too large
 * or unreadable. */
static uint32_t program_file(const struct slots *slots, FILE *file)
{
    const struct ygg_flash *flash = &slots->file.flash;
    uint32_t slot = slots->layout.slots[YGG_SLOT_A];
    uint32_t length = 0;
    uint8_t piece[PIECE_BYTES];
    size_t got = 0;

    memset(piece, YGG_FLASH_ERASED, sizeof piece);
    while ((got = fread(piece, 1, sizeof piece, file)) > 0) {
        size_t whole = (got + YGG_FLASH_UNIT_BYTES - 1) / YGG_FLASH_UNIT_BYTES * YGG_FLASH_UNIT_BYTES;

        if (length + got > slots->layout.slot_bytes || ygg_flash_erase(flash, slot + length) != YGG_OK ||
            ygg_flash_program(flash, slot + length, piece, whole) != YGG_OK) {
            return 0;
        }
        length += (uint32_t)got;
        memset(piece, YGG_FLASH_ERASED, sizeof piece);
    }
    return ferror(file) != 0 ? 0 : length;
}

static bool hash_slot(struct slots *slots, uint32_t length, uint8_t digest[YGG_DIGEST_BYTES])
{
    const uint8_t *from = slots->file.mapped + slots->layout.slots[YGG_SLOT_A];
    uint8_t piece[PIECE_BYTES];
    bool good = posix_hash.begin(slots->hash) == YGG_OK;

    for (uint32_t at = 0; at < length && good; at += PIECE_BYTES) {
        uint32_t size = length - at < PIECE_BYTES ? length - at : PIECE_BYTES;

        for (uint32_t i = 0; i < size; i++) {
            piece[i] = (uint8_t)~from[at + i];
        }
        good = posix_hash.update(slots->hash, piece, size) == YGG_OK;
    }
    return good && posix_hash.finish(slots->hash, digest) == YGG_OK;
}

/* Provisions the device with the factory image: this executable, or a file. */
static bool provision(struct slots *slots, const struct options *options, char reason[FLASH_FILE_REASON_BYTES])
{
    const char *path = options->factory_image != NULL ? options->factory_image : self;
    struct ygg_image image = {.counter = options->security_counter};
    FILE *file = fopen(path, "rbe");

    if (file == NULL) {
        return fail(reason, path, strerror(errno));
    }
    image.length = program_file(slots, file);
    (void)fclose(file);
    if (image.length == 0) {
        return fail(reason, path, "does not fit the slot: choose a larger --slot-bytes");
    }
    return (hash_slot(slots, image.length, image.digest) &&
            ygg_boot_provision(&slots->boot, YGG_SLOT_A, &image) == YGG_OK) ||
           fail(reason, path, "cannot be written to slot A");
}

bool slots_boot(struct slots *slots, const struct options *options, char reason[FLASH_FILE_REASON_BYTES])
{
    if (!open_boot(slots, options, YGG_SLOT_NONE)) {
        return fail(reason, options->slots, "its boot state cannot be read");
    }
    if (slots->boot.log.sequence == 0 && !options->safe_mode && !provision(slots, options, reason)) {
        return false;
    }
    slots->boots++;
    return open_boot(slots, options, ygg_boot_choose(&slots->boot, options->safe_mode)) ||
           fail(reason, options->slots, "its boot state cannot be read");
}

/* --- the bootloader -------------------------------------------------------------------------------------------------- */

enum ygg_slot slots_running(void)
{
    const char *slot = getenv(slot_variable);

    return slot == NULL             ? YGG_SLOT_NONE
           : strcmp(slot, "A") == 0 ? YGG_SLOT_A
           : strcmp(slot, "B") == 0 ? YGG_SLOT_B
                                    : YGG_SLOT_NONE;
}

void slots_disarm_watchdog(void)
{
    (void)alarm(0);
}

/* Returns the slot's image as an executable memfd, hashed while copied, so that the verified bytes run; -1 on
 * failure. */
static int extract(const struct slots *slots)
{
    const struct ygg_boot *boot = &slots->boot;
    const struct ygg_image *image = &boot->slots[boot->running].image;
    int fd = memfd_create("ygg-agent", MFD_CLOEXEC);
    uint8_t piece[PIECE_BYTES];
    uint8_t digest[YGG_DIGEST_BYTES];
    bool good = fd >= 0 && posix_hash.begin(slots->hash) == YGG_OK;

    for (uint32_t at = 0; at < image->length && good; at += PIECE_BYTES) {
        uint32_t size = image->length - at < PIECE_BYTES ? image->length - at : PIECE_BYTES;

        good = ygg_flash_read(&slots->file.flash, slots->layout.slots[boot->running] + at, piece, size) == YGG_OK &&
               posix_hash.update(slots->hash, piece, size) == YGG_OK && write(fd, piece, size) == (ssize_t)size;
    }
    good = good && posix_hash.finish(slots->hash, digest) == YGG_OK &&
           memcmp(digest, image->digest, sizeof digest) == 0;
    if (!good && fd >= 0) {
        (void)close(fd);
    }
    return good ? fd : -1;
}

static bool remember_bootloader(void)
{
    char path[PATH_BYTES];
    ssize_t length = readlink(self, path, sizeof path - 1);

    if (length <= 0) {
        return false;
    }
    path[length] = '\0';
    return setenv(bootloader_variable, path, 1) == 0;
}

/* Executes the chosen slot. Returns on failure. */
static void execute(struct slots *slots, const struct options *options, char **argv)
{
    extern char **environ;
    bool trial = slots->boot.state == YGG_BOOT_TRIAL;
    int fd = extract(slots);

    if (fd < 0 || !remember_bootloader() ||
        setenv(slot_variable, slots->boot.running == YGG_SLOT_A ? "A" : "B", 1) != 0) {
        return;
    }
    if (trial) {
        (void)alarm(options->trial_ms / 1000U + WATCHDOG_SPARE_S);
    }
    flash_file_close(&slots->file);
    (void)fexecve(fd, argv, environ);
    (void)fprintf(stderr, "ygg-agent: cannot execute the slot: %s\n", strerror(errno));
    (void)unsetenv(slot_variable);
    slots_disarm_watchdog();
    (void)close(fd);
}

bool slots_start(const struct options *options, char **argv, char reason[FLASH_FILE_REASON_BYTES])
{
    struct slots *slots = NULL;

    if (getenv(slot_variable) != NULL) {
        return true; /* Started by the bootloader. */
    }
    slots = calloc(1, sizeof *slots);
    if (slots == NULL) {
        return fail(reason, options->slots, "no memory");
    }
    bool good = slots_open(slots, options->slots, options, reason) && slots_boot(slots, options, reason);
    if (good && slots->boot.running != YGG_SLOT_NONE) {
        /* A slot that cannot be executed counts as one that crashes: on trial it uses up its boots; if confirmed, safe
         * mode runs. */
        bool again = slots->boot.state == YGG_BOOT_TRIAL;

        execute(slots, options, argv);
        slots_close(slots);
        free(slots);
        return again ? slots_start(options, argv, reason) : true;
    }
    slots_close(slots);
    free(slots);
    return good;
}

void slots_restart(char **argv)
{
    const char *bootloader = getenv(bootloader_variable);
    sigset_t none;

    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)unsetenv(slot_variable);
    slots_disarm_watchdog();
    (void)execv(bootloader != NULL ? bootloader : self, argv);
    (void)fprintf(stderr, "ygg-agent: cannot restart %s: %s\n", bootloader != NULL ? bootloader : self,
                  strerror(errno));
}
