/* The boot state machine: two slots, and a state that survives power cuts at any point.
 *
 * Owns the boot state: which slot is confirmed, which one is on trial, their images, and the floor of the security
 * counter. Does not own writing an image to a slot (ygg/install.h) nor starting it (the port). One portable file,
 * shared by bootloader and agent. Rules after MCUboot: write-once records, the counter advances only after confirm.
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
 * The states; each arrow is one record, so it happens completely or not at all:
 *
 *                                        stage(other slot, verified)
 *                      .------------------------------------------------------------------.
 *                      |                 rollback(other slot, once confirmed)             v
 *                 CONFIRMED ---------------------------------------------------------> PENDING
 *                  ^      ^                                                               |
 *          confirm |      | revert: requested, or the image is damaged,                   | choose: boots = 1
 *         the slot |      | or it was booted boots_max times                              v
 *        on trial, |      '------------------------------------------------------------ TRIAL --.
 *        and floor |                                                                      |  ^  | choose: boots + 1
 *                  '----------------------------------------------------------------------'  '--'
 *
 *     choose(), at each boot:     on trial, intact, boots left, counter at or above floor? -> that slot
 *                                 else the confirmed slot, if it is intact                 -> that slot
 *                                 else the other, if once confirmed and intact             -> that slot, permanently
 *                                 else, or on request                                      -> safe mode, which can update
 *
 * The boot is counted before the image runs; if it cannot be counted, the confirmed slot runs. While an image is
 * pending or on trial no update can begin, except in safe mode, where it ends the trial. */
#ifndef YGG_BOOT_H
#define YGG_BOOT_H

#include <stdbool.h>

#include "ygg/flashlog.h"
#include "ygg/hal.h"

enum ygg_slot { YGG_SLOT_A = 0, YGG_SLOT_B = 1, YGG_SLOT_NONE = 2 };

enum { YGG_SLOTS = 2, YGG_DIGEST_BYTES = 32, YGG_BOOT_RECORD_BYTES = 144, YGG_BOOTS_MAX_DEFAULT = 3 };

/* Flash layout; offsets and sizes in bytes, multiples of the block. */
struct ygg_layout {
    const struct ygg_flash *flash;
    uint32_t records;       /* Two blocks. */
    uint32_t trust;         /* Two blocks. */
    uint32_t journal;       /* journal_bytes. */
    uint32_t journal_bytes; /* ygg_journal_bytes(); ygg/install.h. */
    uint32_t slots[YGG_SLOTS];
    uint32_t slot_bytes; /* Size of each slot. */
};

/* The image in a slot, as stated by the signed manifest. */
struct ygg_image {
    uint32_t length;                  /* In bytes, 1 to slot_bytes. */
    uint32_t counter;                 /* Security counter. */
    uint32_t sequence;                /* Sequence of the release; 0: factory image. */
    uint8_t digest[YGG_DIGEST_BYTES]; /* SHA-256. */
};

enum ygg_slot_state {
    YGG_SLOT_EMPTY = 0,  /* Empty or incomplete. */
    YGG_SLOT_STAGED = 1, /* Verified, never confirmed. */
    YGG_SLOT_GOOD = 2,   /* Confirmed now or earlier. */
    YGG_SLOT_BAD = 3     /* Its trial failed. */
};

enum ygg_boot_state { YGG_BOOT_CONFIRMED = 1, YGG_BOOT_PENDING = 2, YGG_BOOT_TRIAL = 3 };

/* Outcome of the last update. Stored in flash and sent on the wire; never renumbered. */
enum ygg_boot_outcome {
    YGG_OUTCOME_NONE = 0, /* No trial since the last update began, or ever. */
    YGG_OUTCOME_CONFIRMED = 1,
    YGG_REVERT_REQUESTED = 2,    /* Reverted on request. */
    YGG_REVERT_OUT_OF_BOOTS = 3, /* Reverted: booted boots_max times without being confirmed. */
    YGG_REVERT_DAMAGED = 4,      /* Reverted: the image fails its digest, or is below the floor now. */
    YGG_REVERT_TIMEOUT = 5,      /* Reverted: not confirmed within the trial period. */
    YGG_REVERT_SELF_TEST = 6,    /* Reverted: the self-test failed. */
    YGG_REVERT_SUPERSEDED = 7    /* Ended by an update in safe mode. */
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
    /* Initial floor of the security counter, without a record: that of the safe mode's image. */
    uint32_t counter_floor_min;
    uint8_t boots_max;     /* Maximum boots of a trial, 1 and up. */
    enum ygg_slot running; /* Slot that this program runs from; NONE: the bootloader or safe mode. */
    /* The newest record; free to read. */
    enum ygg_slot active; /* The confirmed slot; NONE: no slot is confirmed. */
    enum ygg_boot_state state;
    enum ygg_slot trial; /* NONE unless PENDING or TRIAL. */
    uint8_t boots;       /* Boots of the trial so far. */
    enum ygg_boot_outcome outcome;
    uint32_t counter_floor; /* Images with a security counter below are refused. */
    uint64_t update_id;     /* Last update that was started; 0: none. */
    struct ygg_boot_slot slots[YGG_SLOTS];
    /* Private. */
    enum ygg_slot claimed;
    struct ygg_flashlog log;
    uint8_t record[YGG_BOOT_RECORD_BYTES];
};

/* Loads the newest record; without one no slot is trusted. YGG_ERR_IO. YGG_ERR_ARGUMENT: the layout does not fit the
 * flash, or boots_max is 0. */
enum ygg_err ygg_boot_open(struct ygg_boot *boot);

/* Returns the slot to boot; NONE: safe mode. Counts the boot of a trial and reverts a trial that cannot continue. May
 * be called again after a power cut at any point. */
enum ygg_slot ygg_boot_choose(struct ygg_boot *boot, bool safe_mode_asked);

/* Records an image that was written to a slot by other means as the confirmed one; for the factory. YGG_ERR_STATE:
 * records exist already. YGG_ERR_MALFORMED: the slot does not hold that image. YGG_ERR_IO. */
enum ygg_err ygg_boot_provision(struct ygg_boot *boot, enum ygg_slot slot, const struct ygg_image *image);

/* Returns the slot that an update is written to: the one that is not confirmed; A if none is. */
enum ygg_slot ygg_boot_spare(const struct ygg_boot *boot);

/* Begins or resumes an update: the spare slot may be erased and written afterwards. YGG_ERR_STATE: an image is pending
 * or on trial, and this is not safe mode. YGG_ERR_IO. */
enum ygg_err ygg_boot_claim(struct ygg_boot *boot, uint64_t update_id);

/* Verifies the image in the claimed slot by its SHA-256 and makes it pending, so that the next boot tries it.
 * YGG_ERR_STATE: not claimed. YGG_ERR_REFUSED: the counter is below the floor. YGG_ERR_TOO_LONG: the length is 0 or
 * exceeds the slot. YGG_ERR_MALFORMED: the slot does not hold that image. YGG_ERR_IO. */
enum ygg_err ygg_boot_stage(struct ygg_boot *boot, const struct ygg_image *image);

/* Confirms the running image, which is on trial, and raises the floor to its counter. The caller has a session with an
 * authenticated bridge and has passed the self-test. YGG_ERR_STATE: this image is not on trial. YGG_ERR_IO: call
 * again. */
enum ygg_err ygg_boot_confirm(struct ygg_boot *boot);

/* Ends the trial with an outcome YGG_REVERT_*; the caller then restarts. YGG_ERR_STATE: no trial. YGG_ERR_IO. */
enum ygg_err ygg_boot_revert(struct ygg_boot *boot, enum ygg_boot_outcome outcome);

/* Makes the image in the other slot, once confirmed, pending again; the caller then restarts. YGG_ERR_STATE: a trial is
 * in progress, or the other slot was never confirmed. YGG_ERR_REFUSED: its counter is below the floor.
 * YGG_ERR_MALFORMED: it is damaged. YGG_ERR_IO. */
enum ygg_err ygg_boot_rollback(struct ygg_boot *boot, uint64_t update_id);

/* Returns whether a slot holds exactly this image, by reading it back and hashing it. */
bool ygg_boot_holds(const struct ygg_boot *boot, enum ygg_slot slot, const struct ygg_image *image);

#endif
