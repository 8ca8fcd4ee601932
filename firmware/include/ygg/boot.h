/* Which image runs: two slots, and a state that no power cut can confuse.
 *
 * Owns the boot state: which slot is confirmed, which one is on trial, what they hold, and the security counter's floor. Does
 * not own how an image gets into a slot (ygg/update.h) nor how it is started (the port). One portable file, for a
 * bootloader as for the agent. Rules after MCUboot: write-once records, the counter advances only after confirm.
 *
 * The flash:
 *
 *        +----------+----------+----------+----------+-- - - --+---------- - - ------+---------- - - ------+
 *        | records  | records  | trust    | trust    | journal | slot A              | slot B              |
 *        | block 0  | block 1  | block 0  | block 1  |         |                     |                     |
 *        +----------+----------+----------+----------+-- - - --+---------- - - ------+---------- - - ------+
 *         boot state, a log     roots and time, a log  of the    an image from the first byte on, erased bytes
 *         (ygg/flashlog.h)      (ygg/trust.h)          install   after its end
 *
 * The states; each arrow is one record, so each happens or does not:
 *
 *                                        stage(other slot, verified)
 *                      .------------------------------------------------------------------.
 *                      |                 rollback(other slot, once confirmed)             v
 *                 CONFIRMED ---------------------------------------------------------> PENDING
 *                  ^      ^                                                               |
 *          confirm |      | revert: told, or the image is damaged,                        | choose: boots = 1
 *         the slot |      | or it was booted boots_max times                              v
 *        on trial, |      '------------------------------------------------------------ TRIAL --.
 *        and floor |                                                                      |  ^  | choose: boots + 1
 *                  '----------------------------------------------------------------------'  '--'
 *
 *     choose(), at each boot:     on trial, whole, boots left, counter not below floor?   -> that slot
 *                                 else the confirmed slot, where it is whole               -> that slot
 *                                 else the other, where it was confirmed once and is whole -> that slot, for good
 *                                 else, or when asked                                     -> safe mode, which can update
 *
 * The boot is counted before the image runs: one that cannot count runs the confirmed slot. While an image is pending
 * or on trial no update begins, but in safe mode one does and ends the trial. */
#ifndef YGG_BOOT_H
#define YGG_BOOT_H

#include <stdbool.h>

#include "ygg/flashlog.h"
#include "ygg/hal.h"

enum ygg_slot { YGG_SLOT_A = 0, YGG_SLOT_B = 1, YGG_SLOT_NONE = 2 };

enum { YGG_SLOTS = 2, YGG_DIGEST_BYTES = 32, YGG_BOOT_RECORD_BYTES = 144, YGG_BOOTS_MAX_DEFAULT = 3 };

/* Where things are in the flash; offsets and sizes in bytes, multiples of the block. */
struct ygg_layout {
    const struct ygg_flash *flash;
    uint32_t records;       /* Two blocks. */
    uint32_t trust;         /* Two blocks. */
    uint32_t journal;       /* journal_bytes. */
    uint32_t journal_bytes; /* ygg_journal_bytes(); ygg/update.h. */
    uint32_t slots[YGG_SLOTS];
    uint32_t slot_bytes; /* Of each. */
};

/* What a slot holds, as the signed manifest says it. */
struct ygg_image {
    uint32_t length; /* In bytes, 1 to slot_bytes. */
    uint32_t counter; /* Security counter. */
    uint32_t sequence; /* Of the release; 0: made with the device. */
    uint8_t digest[YGG_DIGEST_BYTES]; /* SHA-256. */
};

enum ygg_slot_state {
    YGG_SLOT_EMPTY = 0,  /* Nothing, or something unfinished. */
    YGG_SLOT_STAGED = 1, /* Verified, never confirmed. */
    YGG_SLOT_GOOD = 2,   /* Confirmed, now or once. */
    YGG_SLOT_BAD = 3     /* Its trial failed. */
};

enum ygg_boot_state { YGG_BOOT_CONFIRMED = 1, YGG_BOOT_PENDING = 2, YGG_BOOT_TRIAL = 3 };

/* How the last trial ended, or why this boot is as it is. Also on the wire; never renumbered. */
enum ygg_boot_outcome {
    YGG_OUTCOME_NONE = 0,         /* There was no trial, or none yet of the last update. */
    YGG_OUTCOME_CONFIRMED = 1,
    YGG_REVERT_REQUESTED = 2,          /* Reverted: somebody asked for it. */
    YGG_REVERT_OUT_OF_BOOTS = 3,  /* Reverted: started boots_max times and never confirmed. */
    YGG_REVERT_DAMAGED = 4,       /* Reverted: the image is not what was verified, or is below the floor by now. */
    YGG_REVERT_TIMEOUT = 5,       /* Reverted: not confirmed in the trial's time. */
    YGG_REVERT_SELF_TEST = 6,     /* Reverted: the self-test failed. */
    YGG_REVERT_SUPERSEDED = 7      /* Ended by an update in safe mode. */
};

struct ygg_boot_slot {
    struct ygg_image image;
    enum ygg_slot_state state;
};

struct ygg_boot {
    /* Set by the caller before ygg_boot_open. */
    const struct ygg_layout *layout;
    const struct ygg_hash *hash;
    void *hash_ctx;
    uint32_t counter_floor_min; /* Least security counter, where there is no record yet: that of the safe mode's image. */
    uint8_t boots_max;          /* Boots of a trial, 1 and up. */
    enum ygg_slot running;      /* Where this program runs from; NONE: the bootloader or safe mode. */
    /* The newest record; free to read. */
    enum ygg_slot active; /* The confirmed slot; NONE: there is none yet. */
    enum ygg_boot_state state;
    enum ygg_slot trial; /* NONE unless PENDING or TRIAL. */
    uint8_t boots;       /* Of the trial. */
    enum ygg_boot_outcome outcome;
    uint32_t counter_floor; /* Images with a security counter below are refused. */
    uint64_t update_id; /* The last update begun; 0: none. */
    struct ygg_boot_slot slots[YGG_SLOTS];
    /* Private. */
    enum ygg_slot claimed;
    struct ygg_flashlog log;
    uint8_t record[YGG_BOOT_RECORD_BYTES];
};

/* Reads the newest record. Where there is none no slot is trusted. YGG_ERR_IO; YGG_ERR_ARGUMENT: the layout does not fit. */
enum ygg_err ygg_boot_open(struct ygg_boot *boot);

/* The bootloader's one question. Counts the boot of a trial, reverts what has to be. NONE: safe mode. Safe to call
 * again after a cut at any point of it. */
enum ygg_slot ygg_boot_choose(struct ygg_boot *boot, bool safe_mode_asked);

/* In the factory: what was written to a slot by other means is the confirmed image. YGG_ERR_STATE: there are records
 * already. YGG_ERR_MALFORMED: the slot does not hold that image. YGG_ERR_IO. */
enum ygg_err ygg_boot_provision(struct ygg_boot *boot, enum ygg_slot slot, const struct ygg_image *image);

/* The slot that an update would be written to: the one that is not confirmed; A where none is. */
enum ygg_slot ygg_boot_spare(const struct ygg_boot *boot);

/* Begins an update, or goes on with it: the spare slot may be erased and written from now on. YGG_ERR_STATE: one is pending
 * or on trial, and this is not safe mode. YGG_ERR_IO. */
enum ygg_err ygg_boot_claim(struct ygg_boot *boot, uint64_t update_id);

/* Ends an update: the claimed slot holds the image; it is read back and hashed. The next boot tries it. YGG_ERR_STATE: not claimed;
 * YGG_ERR_REFUSED: the counter is below the floor; YGG_ERR_TOO_LONG; YGG_ERR_MALFORMED: the slot does not hold that image;
 * YGG_ERR_IO. */
enum ygg_err ygg_boot_stage(struct ygg_boot *boot, const struct ygg_image *image);

/* The running image, which is on trial, stays for good, and the floor rises to its counter. The caller has a session with an
 * authenticated bridge and a passed self-test. YGG_ERR_STATE: this image is not on trial. YGG_ERR_IO: call again. */
enum ygg_err ygg_boot_confirm(struct ygg_boot *boot);

/* Gives the image on trial up; the caller restarts. YGG_ERR_STATE: there is none. YGG_ERR_IO. */
enum ygg_err ygg_boot_revert(struct ygg_boot *boot, enum ygg_boot_outcome outcome);

/* Tries the other slot's image again, which was confirmed once; the caller restarts. YGG_ERR_STATE: a trial is going
 * on, or there is no such image; YGG_ERR_REFUSED: its counter is below the floor; YGG_ERR_MALFORMED: it is damaged; YGG_ERR_IO. */
enum ygg_err ygg_boot_rollback(struct ygg_boot *boot, uint64_t update_id);

/* Whether a slot holds exactly an image, by reading it back. */
bool ygg_boot_holds(const struct ygg_boot *boot, enum ygg_slot slot, const struct ygg_image *image);

#endif
