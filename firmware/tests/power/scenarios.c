/* Scenarios: the program of a device between its boots, written so that it continues after any cut.
 *
 * The images: 0 factory (security counter 2), 1 update (5), 2 another update (2), 3 an old one (1). */
#include "tests/power/world.h"

/* --- an update that works ------------------------------------------------------------------------------------------ */

static enum verdict update(struct world *world, int image)
{
    if (image == 1) {
        world_confirm(world, 1);
        return REACHED;
    }
    if (world_install(world, 1) != YGG_OK) {
        world_fault(world, "a good update is refused");
    }
    return RESTART;
}

/* --- an update that crashes before it is confirmed ------------------------------------------------------------------ */

static enum verdict crash(struct world *world, int image)
{
    const struct ygg_boot *boot = &world->boot;

    if (image == 1) {
        return RESTART;
    }
    if (boot->slots[YGG_SLOT_B].state == YGG_SLOT_BAD) {
        if (boot->outcome != YGG_REVERT_OUT_OF_BOOTS) {
            world_fault(world, "the wrong reason is given for a revert");
        }
        return REACHED;
    }
    if (world_install(world, 1) != YGG_OK) {
        world_fault(world, "a good update is refused");
    }
    return RESTART;
}

/* --- an update that fails its self-test
 * ------------------------------------------------------------------------------- */

static enum verdict revert_itself(struct world *world, int image)
{
    if (image == 1) {
        if (ygg_boot_revert(&world->boot, YGG_REVERT_SELF_TEST) != YGG_OK) {
            world_fault(world, "an image on trial cannot revert itself");
        }
        return RESTART;
    }
    return crash(world, image);
}

static enum verdict self_test(struct world *world, int image)
{
    enum ygg_boot_outcome outcome = world->boot.outcome;

    if (image == 0 && outcome == YGG_REVERT_SELF_TEST) {
        return REACHED;
    }
    /* Every boot may be cut before the image reverts itself. */
    return image == 0 && outcome == YGG_REVERT_OUT_OF_BOOTS ? REACHED : revert_itself(world, image);
}

/* --- rollback to the previous image, on request
 * ----------------------------------------------------------------------- */

/* Image 2 (same counter as the factory image) was installed and confirmed. */
static void prepare_second(struct world *world);

static enum verdict roll_back(struct world *world, int image)
{
    if (image == 0) {
        world_confirm(world, 0);
        return REACHED;
    }
    if (ygg_boot_rollback(&world->boot, 9) != YGG_OK) {
        world_fault(world, "the previous image cannot be tried again");
    }
    return RESTART;
}

static enum verdict update_to_2(struct world *world, int image)
{
    if (image == 2) {
        world_confirm(world, 2);
        return REACHED;
    }
    return world_install(world, 2) == YGG_OK ? RESTART : REACHED;
}

static const struct scenario second = {.program = update_to_2};

static void prepare_second(struct world *world)
{
    while (world_run(world, &second) == RESTART) {
    }
}

/* --- the security counter ------------------------------------------------------------------------------------------- */

/* After image 1 is confirmed the floor is 5: neither a new image below it nor the previous one may run. */
static enum verdict raise_counter(struct world *world, int image)
{
    if (image != 1) {
        return update(world, image);
    }
    if (world->boot.state == YGG_BOOT_TRIAL && ygg_boot_rollback(&world->boot, 9) != YGG_ERR_STATE) {
        world_fault(world, "a rollback begins while an image is on trial");
    }
    world_confirm(world, 1);
    if (world->boot.counter_floor != world->images[1].counter) {
        world_fault(world, "the security counter is not that of the confirmed image");
    }
    if (world->boot.slots[YGG_SLOT_A].state == YGG_SLOT_GOOD && ygg_boot_rollback(&world->boot, 9) != YGG_ERR_REFUSED) {
        world_fault(world, "a rollback goes below the security counter");
    }
    if (world_install(world, 2) != YGG_ERR_REFUSED) {
        world_fault(world, "an update goes below the security counter");
    }
    return REACHED;
}

/* During the trial the floor is unchanged, and after the revert the old image runs. */
static enum verdict keep_counter(struct world *world, int image)
{
    if (world->boot.counter_floor != world->images[0].counter) {
        world_fault(world, "the security counter advances before confirmation");
    }
    return crash(world, image);
}

/* --- only one update at a time ---------------------------------------------------------------------------------------- */

static enum verdict one_at_a_time(struct world *world, int image)
{
    if (image == 1) {
        if (world->boot.state == YGG_BOOT_TRIAL && world_install(world, 2) != YGG_ERR_STATE) {
            world_fault(world, "an update begins while an image is on trial");
        }
        return update(world, image);
    }
    if (update(world, image) == RESTART && world->boot.state == YGG_BOOT_PENDING) {
        if (world_install(world, 2) != YGG_ERR_STATE) {
            world_fault(world, "an update begins while one is pending");
        }
        if (ygg_boot_confirm(&world->boot) != YGG_ERR_STATE) {
            world_fault(world, "an image is confirmed before it ran");
        }
    }
    return RESTART;
}

/* The previous image cannot confirm the one on trial. */
static enum verdict wrong_confirmer(struct world *world, int image)
{
    if (image == 1 && world->boot.state == YGG_BOOT_TRIAL) {
        world->boot.running = YGG_SLOT_A;
        if (ygg_boot_confirm(&world->boot) != YGG_ERR_STATE) {
            world_fault(world, "a slot is confirmed that does not run");
        }
        world->boot.running = YGG_SLOT_B;
    }
    return update(world, image);
}

/* --- damage ----------------------------------------------------------------------------------------------------------- */

/* An attacker changes the image between verification and boot. */
static enum verdict tampered(struct world *world, int image)
{
    const struct ygg_boot *boot = &world->boot;

    if (image == 1) {
        world_fault(world, "an image boots that was changed after it was checked");
        return REACHED;
    }
    if (boot->slots[YGG_SLOT_B].state == YGG_SLOT_BAD) {
        if (boot->outcome != YGG_REVERT_DAMAGED) {
            world_fault(world, "the wrong reason is given for a revert");
        }
        return REACHED;
    }
    if (world_install(world, 1) == YGG_OK) {
        world_damage(world, YGG_SLOT_B);
    }
    return RESTART;
}

/* The staged image differs from the announced one. */
static void prepare_wrong_digest(struct world *world)
{
    world->images[1].digest[5] ^= 1;
}

static enum verdict wrong_bytes(struct world *world, int image)
{
    if (image != 0) {
        world_fault(world, "an image with a wrong digest boots");
    } else if (world_install(world, 1) != YGG_ERR_MALFORMED) {
        world_fault(world, "an image with a wrong digest is staged");
    }
    return REACHED;
}

/* The confirmed image 2 is damaged: the previous one, also confirmed, runs again. */
static void prepare_damaged(struct world *world)
{
    prepare_second(world);
    world_damage(world, YGG_SLOT_B);
    world->confirm_pending = true;
}

static enum verdict fall_back(struct world *world, int image)
{
    if (image != 0 || world->boot.active != YGG_SLOT_A) {
        world_fault(world, "a damaged image is not replaced by the one before");
    }
    world->confirmed = 0;
    return REACHED;
}

/* The same, but the previous image is below the floor: safe mode, which accepts an update. */
static void prepare_below_floor(struct world *world)
{
    static const struct scenario first = {.program = update};

    while (world_run(world, &first) == RESTART) {
    }
    world_damage(world, YGG_SLOT_B);
    world->safe_mode_expected = true;
    world->confirm_pending = true;
    world->images[2].counter = 6;
    world->starts[0] = 0;
}

static enum verdict below_floor(struct world *world, int image)
{
    if (image == 0) {
        world_fault(world, "an image below the security counter runs in place of a damaged one");
    }
    return update_to_2(world, image);
}

/* A revert left image 1 in slot B; then the confirmed one is damaged. An image that failed its trial is no fallback. */
static void prepare_bad_spare(struct world *world)
{
    static const struct scenario first = {.program = crash};

    while (world_run(world, &first) == RESTART) {
    }
    world_damage(world, YGG_SLOT_A);
    world->safe_mode_expected = true;
    world->confirm_pending = true;
}

static enum verdict bad_spare(struct world *world, int image)
{
    if (image == 1) {
        world_fault(world, "an image that failed its trial comes back");
    }
    return update_to_2(world, image);
}

/* --- safe mode ------------------------------------------------------------------------------------------------------- */

/* A device without record and image. It can still be updated. */
static void prepare_blank(struct world *world)
{
    for (uint32_t i = 0; i < world->layout.trust; i++) {
        world->ram.bytes[i] = (uint8_t)ram_flash_random(&world->ram);
    }
    world->confirmed = WORLD_NO_IMAGE;
    world->safe_mode_expected = true;
    world->floor_seen = 0;
}

static enum verdict from_nothing(struct world *world, int image)
{
    if (image == 0) {
        world_fault(world, "an image runs without a record");
    }
    return update_to_2(world, image);
}

/* Image 1 hangs and safe mode is requested: an update begins there though one is on trial. */
static enum verdict asked_for(struct world *world, int image)
{
    if (image == WORLD_NO_IMAGE) {
        if (world_install(world, 2) != YGG_OK) {
            world_fault(world, "safe mode cannot update");
        }
        world->safe_mode_asked = false;
        return RESTART;
    }
    if (image == 2) {
        world_confirm(world, 2);
        return REACHED;
    }
    if (image == 1) {
        world->safe_mode_asked = true;
        return RESTART;
    }
    if (world->boot.outcome == YGG_REVERT_OUT_OF_BOOTS) {
        return update_to_2(world, image); /* Cuts used up its boots. */
    }
    return update(world, image);
}

const struct scenario world_scenarios[] = {
    {.name = "install, swap, confirm", .program = update, .end = 1, .starts_of_1 = 1},
    {.name = "install, swap, revert after the last boot", .program = crash, .end = 0, .starts_of_1 = WORLD_BOOTS_MAX},
    {.name = "install, swap, revert by self-test", .program = self_test, .end = 0, .starts_of_1 = 1},
    {.name = "a second update over the first",
     .prepare = prepare_second,
     .program = update,
     .end = 1,
     .starts_of_1 = 1},
    {.name = "rollback on request", .prepare = prepare_second, .program = roll_back, .end = 0},
    {.name = "counter update", .program = raise_counter, .end = 1},
    {.name = "counter kept until confirm", .program = keep_counter, .end = 0},
    {.name = "one update at a time", .program = one_at_a_time, .end = 1},
    {.name = "only the image on trial is confirmed", .program = wrong_confirmer, .end = 1},
    {.name = "tampering between check and use", .program = tampered, .end = 0},
    {.name = "an image that is not the announced one",
     .prepare = prepare_wrong_digest,
     .program = wrong_bytes,
     .end = 0},
    {.name = "damage of the confirmed image", .prepare = prepare_damaged, .program = fall_back, .end = 0},
    {.name = "damage, and nothing above the floor", .prepare = prepare_below_floor, .program = below_floor, .end = 2},
    {.name = "damage, and a spare that failed", .prepare = prepare_bad_spare, .program = bad_spare, .end = 2},
    {.name = "safe mode of a blank device", .prepare = prepare_blank, .program = from_nothing, .end = 2},
    {.name = "safe mode during a trial", .program = asked_for, .end = 2},
};

const unsigned world_scenarios_count = sizeof world_scenarios / sizeof world_scenarios[0];
