/* Slots of a posix device: a flash file whose slots hold the agent's own executable, and the bootloader that starts it.
 *
 *     ygg-agent --slots FILE         the file as it was started is the bootloader, and safe mode
 *        |  no boot record yet: puts itself into slot A, as a factory would
 *        |  ygg_boot_choose
 *        +-- a slot --> copies its bytes to memory, hashes them once more, execve with YGG_SLOT=A|B
 *        |                 `--> runs; wants a restart: execve of the bootloader
 *        `-- none ----> goes on as it is: safe mode, which takes updates
 *
 * While an image is on trial a watchdog (SIGALRM, set before execve) ends a process that hangs; whoever supervises the
 * process starts it again. With --count a restart happens within the process, and is logged as such: nothing is executed. */
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
    uint32_t boots; /* Of this process; more than 1 only with --count. */
    uint8_t root[YGG_ENVELOPE_BYTES_MAX];
};

/* Opens the flash, which is made where it is not there. Nothing is chosen yet. False and a `reason` where that fails. */
bool slots_open(struct slots *slots, const char *path, const struct options *options, char reason[FLASH_FILE_REASON_BYTES]);
void slots_close(struct slots *slots);

/* Boots within the process: makes the device where it was not, chooses, and opens the boot state as what was chosen. */
bool slots_boot(struct slots *slots, const struct options *options, char reason[FLASH_FILE_REASON_BYTES]);

/* For one device: the bootloader. Returns only in the image (true), in safe mode (true), or where it failed. */
bool slots_start(const struct options *options, char **argv, char reason[FLASH_FILE_REASON_BYTES]);

/* The slot that this process runs from, by slots_start; NONE: safe mode. */
enum ygg_slot slots_running(void);

/* The image that runs is confirmed, or gave up: the watchdog is for the next one. */
void slots_disarm_watchdog(void);

/* Starts the bootloader again in place of this process. Returns where that failed. */
void slots_restart(char **argv);

#endif
