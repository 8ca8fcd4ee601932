/* The boot state machine. Drawn in ygg/boot.h.
 *
 *     record's payload   | active | state | trial | boots | outcome | 0 0 0 | floor: u32 | update id: u64 | slot A | slot B | 0 ... |
 *     slot               | length: u32 | counter: u32 | sequence: u32 | state | 0 0 0 | SHA-256 |
 *
 * Nothing here trusts RAM across a restart, and nothing in flash that has not passed its CRC (records) or its SHA-256
 * (images). Every transition is one record. */
#include "ygg/boot.h"

#include <string.h>

enum { RECORD_KIND = 0x59474231, PIECE_BYTES = 256 };

enum {
    AT_ACTIVE = YGG_FLASHLOG_HEAD_BYTES,
    AT_STATE = AT_ACTIVE + 1,
    AT_TRIAL = AT_ACTIVE + 2,
    AT_BOOTS = AT_ACTIVE + 3,
    AT_OUTCOME = AT_ACTIVE + 4,
    AT_FLOOR = AT_ACTIVE + 8,
    AT_UPDATE = AT_ACTIVE + 12,
    AT_SLOTS = AT_ACTIVE + 20,
    SLOT_LENGTH = 0,
    SLOT_COUNTER = 4,
    SLOT_SEQUENCE = 8,
    SLOT_STATE = 12,
    SLOT_DIGEST = 16,
    SLOT_BYTES = SLOT_DIGEST + YGG_DIGEST_BYTES
};

_Static_assert(AT_SLOTS + YGG_SLOTS * SLOT_BYTES + YGG_FLASHLOG_TAIL_BYTES <= YGG_BOOT_RECORD_BYTES,
               "a record has room");
_Static_assert(YGG_BOOT_RECORD_BYTES % YGG_FLASH_UNIT_BYTES == 0, "a record is programmed in whole units");

/* --- the record --------------------------------------------------------------------------------------------------- */

static void read_slot(struct ygg_boot_slot *slot, const uint8_t *in)
{
    slot->image.length = ygg_get32(in + SLOT_LENGTH);
    slot->image.counter = ygg_get32(in + SLOT_COUNTER);
    slot->image.sequence = ygg_get32(in + SLOT_SEQUENCE);
    slot->state = (enum ygg_slot_state)in[SLOT_STATE];
    memcpy(slot->image.digest, in + SLOT_DIGEST, YGG_DIGEST_BYTES);
}

static void write_slot(const struct ygg_boot_slot *slot, uint8_t *out)
{
    ygg_put32(out + SLOT_LENGTH, slot->image.length);
    ygg_put32(out + SLOT_COUNTER, slot->image.counter);
    ygg_put32(out + SLOT_SEQUENCE, slot->image.sequence);
    out[SLOT_STATE] = (uint8_t)slot->state;
    memcpy(out + SLOT_DIGEST, slot->image.digest, YGG_DIGEST_BYTES);
}

static void read_record(struct ygg_boot *boot)
{
    const uint8_t *in = boot->record;

    boot->active = (enum ygg_slot)in[AT_ACTIVE];
    boot->state = (enum ygg_boot_state)in[AT_STATE];
    boot->trial = (enum ygg_slot)in[AT_TRIAL];
    boot->boots = in[AT_BOOTS];
    boot->outcome = (enum ygg_boot_outcome)in[AT_OUTCOME];
    boot->counter_floor = ygg_get32(in + AT_FLOOR);
    boot->update_id = ygg_get64(in + AT_UPDATE);
    for (size_t i = 0; i < YGG_SLOTS; i++) {
        read_slot(&boot->slots[i], in + AT_SLOTS + i * SLOT_BYTES);
    }
}

/* Resets the state to that of a device without records: no slot is trusted. */
static void forget(struct ygg_boot *boot)
{
    boot->active = YGG_SLOT_NONE;
    boot->state = YGG_BOOT_CONFIRMED;
    boot->trial = YGG_SLOT_NONE;
    boot->boots = 0;
    boot->outcome = YGG_OUTCOME_NONE;
    boot->counter_floor = boot->counter_floor_min;
    boot->update_id = 0;
    memset(boot->slots, 0, sizeof boot->slots);
}

/* Whether this version can have written the record; another version may have left one. */
static bool is_plausible(const struct ygg_boot *boot)
{
    bool trial = boot->state == YGG_BOOT_PENDING || boot->state == YGG_BOOT_TRIAL;

    return boot->active <= YGG_SLOT_NONE && (trial ? boot->trial < YGG_SLOT_NONE : boot->state == YGG_BOOT_CONFIRMED) &&
           boot->slots[YGG_SLOT_A].image.length <= boot->layout->slot_bytes &&
           boot->slots[YGG_SLOT_B].image.length <= boot->layout->slot_bytes;
}

static enum ygg_err load(struct ygg_boot *boot)
{
    enum ygg_err err = ygg_flashlog_open(&boot->log, boot->record);

    forget(boot);
    if (err == YGG_OK) {
        read_record(boot);
        if (!is_plausible(boot)) {
            forget(boot);
        }
    }
    return err == YGG_ERR_NOT_FOUND ? YGG_OK : err;
}

/* Writes the state in RAM to flash. On failure RAM is reloaded from flash. */
static enum ygg_err save(struct ygg_boot *boot)
{
    uint8_t *out = boot->record;

    memset(out, 0, sizeof boot->record);
    out[AT_ACTIVE] = (uint8_t)boot->active;
    out[AT_STATE] = (uint8_t)boot->state;
    out[AT_TRIAL] = (uint8_t)boot->trial;
    out[AT_BOOTS] = boot->boots;
    out[AT_OUTCOME] = (uint8_t)boot->outcome;
    ygg_put32(out + AT_FLOOR, boot->counter_floor);
    ygg_put64(out + AT_UPDATE, boot->update_id);
    for (size_t i = 0; i < YGG_SLOTS; i++) {
        write_slot(&boot->slots[i], out + AT_SLOTS + i * SLOT_BYTES);
    }
    if (ygg_flashlog_append(&boot->log, boot->record) == YGG_OK) {
        return YGG_OK;
    }
    (void)load(boot); /* If that fails as well, no slot is trusted. */
    return YGG_ERR_IO;
}

/* --- images ------------------------------------------------------------------------------------------------------- */

static enum ygg_err hash_slot(const struct ygg_boot *boot, uint32_t offset, uint32_t length, uint8_t *digest)
{
    uint8_t piece[PIECE_BYTES];
    enum ygg_err err = boot->hash->begin(boot->hash_ctx);

    for (uint32_t at = 0; at < length && err == YGG_OK; at += PIECE_BYTES) {
        uint32_t size = length - at < PIECE_BYTES ? length - at : PIECE_BYTES;

        err = ygg_flash_read(boot->layout->flash, offset + at, piece, size);
        if (err == YGG_OK) {
            err = boot->hash->update(boot->hash_ctx, piece, size);
        }
    }
    return err == YGG_OK ? boot->hash->finish(boot->hash_ctx, digest) : err;
}

bool ygg_boot_holds(const struct ygg_boot *boot, enum ygg_slot slot, const struct ygg_image *image)
{
    uint8_t digest[YGG_DIGEST_BYTES];

    return hash_slot(boot, boot->layout->slots[slot], image->length, digest) == YGG_OK &&
           memcmp(digest, image->digest, sizeof digest) == 0;
}

/* Whether a slot may be booted now. */
static bool is_bootable(const struct ygg_boot *boot, enum ygg_slot slot)
{
    const struct ygg_boot_slot *candidate = &boot->slots[slot];

    return candidate->image.counter >= boot->counter_floor && ygg_boot_holds(boot, slot, &candidate->image);
}

static enum ygg_slot other_slot(enum ygg_slot slot)
{
    return slot == YGG_SLOT_A ? YGG_SLOT_B : YGG_SLOT_A;
}

/* --- the states --------------------------------------------------------------------------------------------------- */

static bool layout_fits(const struct ygg_layout *layout)
{
    uint64_t end = (uint64_t)layout->flash->block_bytes * layout->flash->blocks;

    return layout->flash->block_bytes >= YGG_BOOT_RECORD_BYTES && layout->slot_bytes > 0 &&
           (uint64_t)layout->slots[YGG_SLOT_A] + layout->slot_bytes <= end &&
           (uint64_t)layout->slots[YGG_SLOT_B] + layout->slot_bytes <= end;
}

enum ygg_err ygg_boot_open(struct ygg_boot *boot)
{
    if (!layout_fits(boot->layout) || boot->boots_max == 0) {
        return YGG_ERR_ARGUMENT;
    }
    boot->claimed = YGG_SLOT_NONE;
    boot->log = (struct ygg_flashlog){.flash = boot->layout->flash,
                                      .offset = boot->layout->records,
                                      .kind = RECORD_KIND,
                                      .record_bytes = YGG_BOOT_RECORD_BYTES};
    return load(boot);
}

static bool on_trial(const struct ygg_boot *boot)
{
    return boot->state != YGG_BOOT_CONFIRMED;
}

/* Ends the trial, in RAM only. */
static void end_trial(struct ygg_boot *boot, enum ygg_slot_state as, enum ygg_boot_outcome outcome)
{
    boot->slots[boot->trial].state = as;
    boot->state = YGG_BOOT_CONFIRMED;
    boot->trial = YGG_SLOT_NONE;
    boot->boots = 0;
    boot->outcome = outcome;
}

static void begin_trial(struct ygg_boot *boot, enum ygg_slot slot)
{
    boot->state = YGG_BOOT_PENDING;
    boot->trial = slot;
    boot->boots = 0;
}

/* Returns the slot on trial after counting its boot; NONE if it may not run (any more). */
static enum ygg_slot choose_trial(struct ygg_boot *boot)
{
    enum ygg_slot trial = boot->trial;
    enum ygg_boot_outcome fault = boot->boots >= boot->boots_max ? YGG_REVERT_OUT_OF_BOOTS
                                  : !is_bootable(boot, trial)    ? YGG_REVERT_DAMAGED
                                                                 : YGG_OUTCOME_NONE;

    if (fault != YGG_OUTCOME_NONE) {
        end_trial(boot, YGG_SLOT_BAD, fault);
        (void)save(boot); /* On failure the next boot finds the same fault. */
        return YGG_SLOT_NONE;
    }
    boot->state = YGG_BOOT_TRIAL;
    boot->boots++;
    return save(boot) == YGG_OK ? trial : YGG_SLOT_NONE; /* A boot that is not counted could repeat forever. */
}

/* Returns the confirmed slot or, if it is damaged, the slot confirmed before it. */
static enum ygg_slot choose_confirmed(struct ygg_boot *boot)
{
    if (boot->active == YGG_SLOT_NONE) {
        return YGG_SLOT_NONE;
    }
    if (is_bootable(boot, boot->active)) {
        return boot->active;
    }
    enum ygg_slot other = other_slot(boot->active);
    if (boot->slots[other].state != YGG_SLOT_GOOD || !is_bootable(boot, other)) {
        return YGG_SLOT_NONE;
    }
    boot->active = other;
    (void)save(boot); /* On failure the next boot finds the same. */
    return other;
}

enum ygg_slot ygg_boot_choose(struct ygg_boot *boot, bool safe_mode_asked)
{
    if (safe_mode_asked) {
        return YGG_SLOT_NONE;
    }
    enum ygg_slot slot = on_trial(boot) ? choose_trial(boot) : YGG_SLOT_NONE;

    return slot != YGG_SLOT_NONE ? slot : choose_confirmed(boot);
}

enum ygg_err ygg_boot_provision(struct ygg_boot *boot, enum ygg_slot slot, const struct ygg_image *image)
{
    if (boot->log.sequence != 0) {
        return YGG_ERR_STATE;
    }
    if (!ygg_boot_holds(boot, slot, image)) {
        return YGG_ERR_MALFORMED;
    }
    boot->active = slot;
    boot->slots[slot] = (struct ygg_boot_slot){.image = *image, .state = YGG_SLOT_GOOD};
    boot->counter_floor = image->counter > boot->counter_floor ? image->counter : boot->counter_floor;
    return save(boot);
}

enum ygg_slot ygg_boot_spare(const struct ygg_boot *boot)
{
    return boot->active == YGG_SLOT_NONE ? YGG_SLOT_A : other_slot(boot->active);
}

enum ygg_err ygg_boot_claim(struct ygg_boot *boot, uint64_t update_id)
{
    enum ygg_slot slot = ygg_boot_spare(boot);
    enum ygg_err err = YGG_OK;

    if (on_trial(boot)) {
        if (boot->running != YGG_SLOT_NONE) {
            return YGG_ERR_STATE;
        }
        end_trial(boot, YGG_SLOT_EMPTY, YGG_REVERT_SUPERSEDED);
    }
    if (boot->update_id != update_id || boot->slots[slot].state != YGG_SLOT_EMPTY) {
        boot->update_id = update_id;
        boot->outcome = YGG_OUTCOME_NONE;
        boot->slots[slot] = (struct ygg_boot_slot){.state = YGG_SLOT_EMPTY};
        err = save(boot); /* Before the first byte changes: the slot is no fallback from now on. */
    }
    boot->claimed = err == YGG_OK ? slot : YGG_SLOT_NONE;
    return err;
}

enum ygg_err ygg_boot_stage(struct ygg_boot *boot, const struct ygg_image *image)
{
    enum ygg_slot slot = boot->claimed;

    if (slot == YGG_SLOT_NONE) {
        return YGG_ERR_STATE;
    }
    if (image->length == 0 || image->length > boot->layout->slot_bytes) {
        return YGG_ERR_TOO_LONG;
    }
    if (image->counter < boot->counter_floor) {
        return YGG_ERR_REFUSED;
    }
    if (!ygg_boot_holds(boot, slot, image)) {
        return YGG_ERR_MALFORMED;
    }
    boot->slots[slot] = (struct ygg_boot_slot){.image = *image, .state = YGG_SLOT_STAGED};
    begin_trial(boot, slot);
    boot->claimed = YGG_SLOT_NONE;
    return save(boot);
}

enum ygg_err ygg_boot_confirm(struct ygg_boot *boot)
{
    enum ygg_slot slot = boot->running;

    if (boot->state != YGG_BOOT_TRIAL || slot != boot->trial) {
        return YGG_ERR_STATE;
    }
    uint32_t counter = boot->slots[slot].image.counter;
    boot->counter_floor = counter > boot->counter_floor ? counter : boot->counter_floor;
    boot->active = slot;
    end_trial(boot, YGG_SLOT_GOOD, YGG_OUTCOME_CONFIRMED);
    return save(boot);
}

enum ygg_err ygg_boot_revert(struct ygg_boot *boot, enum ygg_boot_outcome outcome)
{
    if (!on_trial(boot)) {
        return YGG_ERR_STATE;
    }
    end_trial(boot, YGG_SLOT_BAD, outcome);
    return save(boot);
}

enum ygg_err ygg_boot_rollback(struct ygg_boot *boot, uint64_t update_id)
{
    if (on_trial(boot) || boot->active == YGG_SLOT_NONE) {
        return YGG_ERR_STATE;
    }
    enum ygg_slot other = other_slot(boot->active);
    const struct ygg_boot_slot *candidate = &boot->slots[other];
    if (candidate->state != YGG_SLOT_GOOD) {
        return YGG_ERR_STATE;
    }
    if (candidate->image.counter < boot->counter_floor) {
        return YGG_ERR_REFUSED;
    }
    if (!ygg_boot_holds(boot, other, &candidate->image)) {
        return YGG_ERR_MALFORMED;
    }
    begin_trial(boot, other);
    boot->update_id = update_id;
    boot->outcome = YGG_OUTCOME_NONE;
    return save(boot);
}
