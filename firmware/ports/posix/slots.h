/* Slots of a posix device: a flash file whose slots hold the agent's own executable, and the bootloader that starts it.
 *
 *     ygg-agent --slots FILE         the file as started is the bootloader, and safe mode
 *        |  no boot record yet: writes itself to slot A, as a factory would
 *        |  ygg_boot_choose
 *        +-- a slot --> copies its bytes to memory while hashing them, execve with YGG_SLOT=A|B
 *        |                 `--> runs; to restart: execve of the bootloader
 *        `-- none ----> continues in safe mode, which accepts updates
 *
 * While an image is on trial a watchdog (SIGALRM, set before execve) ends a process that hangs, and the supervisor of
 * the process starts it again. With --count a restart happens within the process, without execve, and is logged as
 * such. */
#ifndef YGG_PORTS_POSIX_SLOTS_H
#define YGG_PORTS_POSIX_SLOTS_H

#include <openssl/evp.h>

#include "ports/posix/flash_file.h"
#include "ports/posix/options.h"
#include "ygg/ota.h"

enum { SLOTS_BYTES_DEFAULT = 4 << 20, SLOTS_BYTES_MAX = 64 << 20, SLOTS_TRIAL_MS_DEFAULT = 120000 };

struct slots {
    struct flash_file file;
    struct ygg_layout layout;
    struct ygg_boot boot;
    struct ygg_ota ota;
    EVP_MD_CTX *hash;
    uint32_t boots; /* Boots within this process; more than 1 only with --count. */
    uint8_t root[YGG_ENVELOPE_BYTES_MAX];
};

/* Opens or creates the flash, without choosing a slot. Returns false and a `reason` on failure. */
bool slots_open(struct slots *slots, const char *path, const struct options *options,
                char reason[FLASH_FILE_REASON_BYTES]);
void slots_close(struct slots *slots);

/* Boots within the process: provisions the device if necessary, chooses a slot, and opens the boot state as its
 * image. */
bool slots_boot(struct slots *slots, const struct options *options, char reason[FLASH_FILE_REASON_BYTES]);

/* The bootloader of a single device. Returns true in the image or in safe mode, false on failure. */
bool slots_start(const struct options *options, char **argv, char reason[FLASH_FILE_REASON_BYTES]);

/* Returns the slot that slots_start booted; NONE: safe mode. */
enum ygg_slot slots_running(void);

/* Stops the watchdog: the running image is confirmed or reverted. */
void slots_disarm_watchdog(void);

/* Replaces this process with the bootloader. Returns on failure. */
void slots_restart(char **argv);

#endif
