#include "tests/power/rules.h"

#include <stdio.h>
#include <string.h>

static const uint8_t root[YGG_DIGEST_BYTES] = {1};

static void require(struct world *world, bool holds, const char *what)
{
    if (!holds) {
        world_fault(world, what);
    }
}

/* Boots and continues as the booted slot. */
static enum ygg_slot boot(struct world *world)
{
    enum ygg_slot slot = ygg_boot_open(&world->boot) == YGG_OK ? ygg_boot_choose(&world->boot, false) : YGG_SLOT_NONE;

    world->boot.running = slot;
    (void)ygg_boot_open(&world->boot);
    return slot;
}

static void reopen(struct world *world)
{
    require(world, ygg_boot_open(&world->boot) == YGG_OK, "the state cannot be read");
}

/* Writes an image to the spare slot by other means, claimed or not. */
static void put(struct world *world, int image)
{
    uint8_t *slot = world->ram.bytes + world->layout.slots[ygg_boot_spare(&world->boot)];

    memset(slot, YGG_FLASH_ERASED, world->layout.slot_bytes);
    memcpy(slot, world->bytes[image], world->images[image].length);
}

static void install_and_confirm(struct world *world, int image)
{
    require(world, world_install(world, image) == YGG_OK, "a good update is refused");
    (void)boot(world);
    require(world, ygg_boot_confirm(&world->boot) == YGG_OK, "an image on trial cannot be confirmed");
}

/* --- records --------------------------------------------------------------------------------------------------------- */

static void any_changed_bit_voids_a_record(struct world *world)
{
    uint8_t *newest = world->ram.bytes + world->boot.log.next;

    (void)boot(world);
    require(world, ygg_boot_claim(&world->boot, 77) == YGG_OK, "a claim is refused");
    for (size_t bit = 0; bit < (size_t)YGG_BOOT_RECORD_BYTES * 8U; bit++) {
        newest[bit / 8U] ^= (uint8_t)(1U << bit % 8U);
        reopen(world);
        require(world, world->boot.update_id == 0 && world->boot.active == YGG_SLOT_A,
                "a record with a changed bit is trusted");
        newest[bit / 8U] ^= (uint8_t)(1U << bit % 8U);
    }
    reopen(world);
    require(world, world->boot.update_id == 77, "a valid record is not trusted");
}

static void a_blank_device_trusts_nothing(struct world *world)
{
    memset(world->ram.bytes, YGG_FLASH_ERASED, world->layout.trust);
    reopen(world);
    require(world, world->boot.active == YGG_SLOT_NONE && world->boot.counter_floor == 1,
            "a device without records trusts a slot");
    require(world, ygg_boot_choose(&world->boot, false) == YGG_SLOT_NONE, "a device without records boots a slot");
    memset(world->ram.bytes, 0, world->layout.trust);
    reopen(world);
    require(world, world->boot.active == YGG_SLOT_NONE, "a record of zeros is trusted");
}

/* A valid CRC but invalid content, such as another version may have left. */
static void an_implausible_record_trusts_nothing(struct world *world)
{
    static const struct {
        size_t at;
        uint8_t value;
    } cases[] = {{YGG_FLASHLOG_HEAD_BYTES, 3},
                 {YGG_FLASHLOG_HEAD_BYTES + 1, 9},
                 {YGG_FLASHLOG_HEAD_BYTES + 1, YGG_BOOT_TRIAL},
                 {YGG_FLASHLOG_HEAD_BYTES + 23, 0x7F}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t *newest = world->ram.bytes + world->boot.log.offset;
        uint8_t whole[YGG_BOOT_RECORD_BYTES];

        memcpy(whole, newest, sizeof whole);
        newest[cases[i].at] = cases[i].value;
        ygg_put32(newest + YGG_BOOT_RECORD_BYTES - 4,
                  ygg_crc32(world->boot.log.kind, newest, YGG_BOOT_RECORD_BYTES - 4));
        reopen(world);
        require(world, world->boot.active == YGG_SLOT_NONE, "an implausible record is trusted");
        memcpy(newest, whole, sizeof whole);
    }
    reopen(world);
    require(world, world->boot.active == YGG_SLOT_A, "a plausible record is not trusted");
}

static void a_device_is_provisioned_once(struct world *world)
{
    require(world, ygg_boot_provision(&world->boot, YGG_SLOT_A, &world->images[0]) == YGG_ERR_STATE,
            "a device is provisioned again");
}

static void provisioning_verifies_the_image(struct world *world)
{
    memset(world->ram.bytes, YGG_FLASH_ERASED, world->layout.trust);
    reopen(world);
    require(world, ygg_boot_provision(&world->boot, YGG_SLOT_A, &world->images[1]) == YGG_ERR_MALFORMED,
            "a device is provisioned with a missing image");
}

static void a_layout_beyond_the_flash_is_refused(struct world *world)
{
    world->layout.slots[YGG_SLOT_B] += WORLD_BLOCK_BYTES;
    require(world, ygg_boot_open(&world->boot) == YGG_ERR_ARGUMENT, "a slot beyond the flash is accepted");
    world->layout.slots[YGG_SLOT_B] -= WORLD_BLOCK_BYTES;
    world->boot.boots_max = 0;
    require(world, ygg_boot_open(&world->boot) == YGG_ERR_ARGUMENT, "a trial without boots is accepted");
}

/* --- flash that fails ------------------------------------------------------------------------------------------------ */

static void a_record_that_flash_did_not_store_is_an_error(struct world *world)
{
    (void)boot(world);
    world->ram.operations = 0;
    world->ram.weak_at = 1;
    require(world, ygg_boot_claim(&world->boot, 77) == YGG_ERR_IO, "a record that flash did not store is accepted");
    require(world, world->boot.update_id == 0, "RAM differs from flash");
}

static void an_image_whose_boot_cannot_be_counted_does_not_run(struct world *world)
{
    (void)boot(world);
    require(world, world_install(world, 1) == YGG_OK, "a good update is refused");
    for (int i = 0; i < 3 * WORLD_BOOTS_MAX; i++) {
        world->boot.running = YGG_SLOT_NONE;
        reopen(world);
        world->ram.operations = 0;
        world->ram.fail_at = 1;
        require(world, ygg_boot_choose(&world->boot, false) == YGG_SLOT_A,
                "an image runs although its boot cannot be counted");
    }
    world->ram.fail_at = 0;
    require(world, boot(world) == YGG_SLOT_B, "an image does not run although its boot can be counted again");
}

static void a_flash_that_fails_stops_an_install(struct world *world)
{
    (void)boot(world);
    for (uint32_t at = 1; at < 20; at++) {
        world->ram.operations = 0;
        world->ram.fail_at = at;
        enum ygg_err err = world_install(world, 1);
        require(world, err == YGG_ERR_IO || (err == YGG_OK && world->ram.operations < at),
                "an install continues after flash failed");
        if (err == YGG_OK) {
            break;
        }
    }
    world->ram.fail_at = 0;
    require(world, world->boot.state == YGG_BOOT_PENDING || world_install(world, 1) == YGG_OK,
            "an install cannot be repeated");
}

/* --- updates --------------------------------------------------------------------------------------------------------- */

static void the_spare_slot_is_empty_while_it_is_written(struct world *world)
{
    (void)boot(world);
    install_and_confirm(world, 2);
    require(world, world->boot.slots[YGG_SLOT_A].state == YGG_SLOT_GOOD, "the previous image is not kept");
    require(world, ygg_boot_claim(&world->boot, 5) == YGG_OK, "a claim is refused");
    reopen(world);
    require(world, world->boot.slots[YGG_SLOT_A].state == YGG_SLOT_EMPTY && world->boot.update_id == 5,
            "a slot stays good while it is written over");
    require(world, ygg_boot_rollback(&world->boot, 6) == YGG_ERR_STATE,
            "a rollback goes to a slot that is written over");
}

static void nothing_is_staged_without_a_claim(struct world *world)
{
    (void)boot(world);
    put(world, 1);
    require(world, ygg_boot_stage(&world->boot, &world->images[1]) == YGG_ERR_STATE,
            "an image is staged without a claim");
}

/* A slot followed by flash with another owner. */
static void a_length_beyond_the_slot_is_refused(struct world *world)
{
    struct ygg_image image = world->images[1];
    uint32_t spare = world->layout.slots[YGG_SLOT_B];
    unsigned length = 0;

    (void)boot(world);
    world->layout.slots[YGG_SLOT_B] = spare - WORLD_BLOCK_BYTES;
    image.length = world->layout.slot_bytes + 1;
    (void)EVP_Digest(world->ram.bytes + spare - WORLD_BLOCK_BYTES, image.length, image.digest, &length, EVP_sha256(),
                     NULL);
    require(world, ygg_boot_claim(&world->boot, 1) == YGG_OK, "a claim is refused");
    require(world, ygg_boot_stage(&world->boot, &image) == YGG_ERR_TOO_LONG, "an image longer than the slot is staged");
    world->install.boot = &world->boot;
    require(world, ygg_install_begin(&world->install, &image, root, 1, 0, true) == YGG_ERR_TOO_LONG,
            "an install longer than the slot begins");
    image.length = 0;
    (void)EVP_Digest("", 0, image.digest, &length, EVP_sha256(), NULL);
    require(world, ygg_boot_stage(&world->boot, &image) == YGG_ERR_TOO_LONG, "an empty image is staged");
}

static void an_image_that_did_not_run_is_not_confirmed(struct world *world)
{
    (void)boot(world);
    require(world, ygg_boot_confirm(&world->boot) == YGG_ERR_STATE, "a confirmed image is confirmed");
    require(world, world_install(world, 1) == YGG_OK, "a good update is refused");
    world->boot.running = YGG_SLOT_B;
    require(world, ygg_boot_confirm(&world->boot) == YGG_ERR_STATE, "an image is confirmed that did not run");
}

static void a_revert_without_a_trial_is_refused(struct world *world)
{
    (void)boot(world);
    require(world, ygg_boot_revert(&world->boot, YGG_REVERT_REQUESTED) == YGG_ERR_STATE, "a revert without a trial");
}

static void a_rollback_goes_only_to_what_was_confirmed(struct world *world)
{
    (void)boot(world);
    require(world, ygg_boot_rollback(&world->boot, 1) == YGG_ERR_STATE, "a rollback to nothing");
    require(world, world_install(world, 2) == YGG_OK, "a good update is refused");
    require(world, ygg_boot_revert(&world->boot, YGG_REVERT_REQUESTED) == YGG_OK, "a revert is refused");
    require(world, ygg_boot_rollback(&world->boot, 1) == YGG_ERR_STATE, "a rollback to an image that failed");
}

static void a_rollback_waits_for_the_trial(struct world *world)
{
    (void)boot(world);
    install_and_confirm(world, 2);
    require(world, ygg_boot_rollback(&world->boot, 1) == YGG_OK, "a rollback is refused");
    require(world, ygg_boot_rollback(&world->boot, 2) == YGG_ERR_STATE, "a rollback begins during another");
}

static void a_rollback_to_a_damaged_image_is_refused(struct world *world)
{
    (void)boot(world);
    install_and_confirm(world, 2);
    world_damage(world, YGG_SLOT_A);
    require(world, ygg_boot_rollback(&world->boot, 1) == YGG_ERR_MALFORMED, "a rollback to a damaged image");
}

static void safe_mode_is_entered_when_asked(struct world *world)
{
    require(world, ygg_boot_choose(&world->boot, true) == YGG_SLOT_NONE, "a request for safe mode is ignored");
}

/* --- the journal ------------------------------------------------------------------------------------------------------ */

/* Writes a part of image 1 and forgets about it, as a power cut would. */
static void write_some(struct world *world, uint32_t bytes)
{
    world->install.boot = &world->boot;
    require(world, ygg_install_begin(&world->install, &world->images[1], root, 1, 0, true) == YGG_OK,
            "an install is refused");
    require(world, ygg_install_write(&world->install, world->bytes[1], bytes) == YGG_OK, "bytes are refused");
    (void)boot(world);
}

static void an_install_goes_on_where_it_was(struct world *world)
{
    (void)boot(world);
    write_some(world, 1100);
    require(world, ygg_install_resume_offset(&world->boot, &world->images[1], root) == 1024,
            "written blocks are not found again");
    require(world,
            ygg_install_begin(&world->install, &world->images[1], root, 1, 1024, true) == YGG_OK &&
                ygg_install_write(&world->install, world->bytes[1] + 1024, 753) == YGG_OK &&
                ygg_install_finish(&world->install) == YGG_OK,
            "an install does not go on");
}

static void another_image_begins_anew(struct world *world)
{
    static const uint8_t other_root[YGG_DIGEST_BYTES] = {2};

    (void)boot(world);
    write_some(world, 1100);
    require(world, ygg_install_resume_offset(&world->boot, &world->images[2], root) == 0,
            "another image resumes this one");
    require(world, ygg_install_resume_offset(&world->boot, &world->images[1], other_root) == 0,
            "other chunks resume these");
    struct ygg_image lower = world->images[1];
    lower.counter = 2;
    require(world, ygg_install_resume_offset(&world->boot, &lower, root) == 0, "another counter resumes this one");
}

static void a_damaged_mark_vouches_for_nothing(struct world *world)
{
    (void)boot(world);
    write_some(world, 1100);
    for (size_t bit = 0; bit < YGG_JOURNAL_MARK_BYTES * 8U; bit++) {
        uint8_t *mark = world->ram.bytes + world->layout.journal + YGG_JOURNAL_HEAD_BYTES + YGG_JOURNAL_MARK_BYTES;

        mark[bit / 8U] ^= (uint8_t)(1U << bit % 8U);
        require(world, ygg_install_resume_offset(&world->boot, &world->images[1], root) == 512,
                "a damaged mark is valid");
        mark[bit / 8U] ^= (uint8_t)(1U << bit % 8U);
    }
}

static void no_byte_more_than_announced_is_written(struct world *world)
{
    uint8_t more[WORLD_IMAGE_BYTES] = {0};

    (void)boot(world);
    world->install.boot = &world->boot;
    require(world, ygg_install_begin(&world->install, &world->images[1], root, 1, 0, true) == YGG_OK,
            "an install is refused");
    require(world, ygg_install_write(&world->install, world->bytes[1], 1700) == YGG_OK, "bytes are refused");
    world->ram.operations = 0;
    require(world, ygg_install_write(&world->install, more, 78) == YGG_ERR_TOO_LONG && world->ram.operations == 0,
            "more bytes are written than were announced");
    require(world,
            ygg_install_finish(&world->install) == YGG_ERR_MALFORMED && world->boot.state == YGG_BOOT_CONFIRMED &&
                ygg_install_resume_offset(&world->boot, &world->images[1], root) > 0,
            "an incomplete image is finished");
    require(world,
            ygg_install_write(&world->install, world->bytes[1] + 1700, 77) == YGG_OK &&
                ygg_install_finish(&world->install) == YGG_OK,
            "an image cannot be completed");
}

static void wrong_bytes_are_forgotten(struct world *world)
{
    (void)boot(world);
    world->install.boot = &world->boot;
    require(world,
            ygg_install_begin(&world->install, &world->images[1], root, 1, 0, true) == YGG_OK &&
                ygg_install_write(&world->install, world->bytes[2], world->images[1].length) == YGG_OK,
            "an install is refused");
    require(world, ygg_install_finish(&world->install) == YGG_ERR_MALFORMED, "wrong bytes are staged");
    require(world, ygg_install_resume_offset(&world->boot, &world->images[1], root) == 0, "marks cover wrong bytes");
    require(world, world_install(world, 1) == YGG_OK, "the right bytes are refused after wrong ones");
}

#define RULE(body) {#body, body}

static const struct {
    const char *name;
    void (*body)(struct world *world);
} rules[] = {
    RULE(any_changed_bit_voids_a_record),
    RULE(a_blank_device_trusts_nothing),
    RULE(an_implausible_record_trusts_nothing),
    RULE(a_device_is_provisioned_once),
    RULE(provisioning_verifies_the_image),
    RULE(a_layout_beyond_the_flash_is_refused),
    RULE(a_record_that_flash_did_not_store_is_an_error),
    RULE(an_image_whose_boot_cannot_be_counted_does_not_run),
    RULE(a_flash_that_fails_stops_an_install),
    RULE(the_spare_slot_is_empty_while_it_is_written),
    RULE(nothing_is_staged_without_a_claim),
    RULE(a_length_beyond_the_slot_is_refused),
    RULE(an_image_that_did_not_run_is_not_confirmed),
    RULE(a_revert_without_a_trial_is_refused),
    RULE(a_rollback_goes_only_to_what_was_confirmed),
    RULE(a_rollback_waits_for_the_trial),
    RULE(a_rollback_to_a_damaged_image_is_refused),
    RULE(safe_mode_is_entered_when_asked),
    RULE(an_install_goes_on_where_it_was),
    RULE(another_image_begins_anew),
    RULE(a_damaged_mark_vouches_for_nothing),
    RULE(no_byte_more_than_announced_is_written),
    RULE(wrong_bytes_are_forgotten),
};

unsigned rules_check(struct world *world, EVP_MD_CTX *hash)
{
    unsigned failed = 0;

    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        world_init(world, hash);
        world_make(world);
        rules[i].body(world);
        require(world, world->ram.broken == 0 || rules[i].body == a_length_beyond_the_slot_is_refused,
                "the flash was written against its rules");
        if (world->fault != NULL) {
            printf("FAILED %s: %s\n", rules[i].name, world->fault);
            failed++;
        }
    }
    printf("  %zu rules\n", sizeof rules / sizeof rules[0]);
    return failed;
}
