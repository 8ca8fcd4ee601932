#include "tests/power/world.h"

#include <string.h>

#include "ports/posix/platform.h"

enum { SLOT_BLOCKS = 4 };

static const uint8_t no_root[YGG_DIGEST_BYTES];

void world_fault(struct world *world, const char *what)
{
    if (world->fault == NULL) {
        world->fault = what;
    }
}

static void stop_cpu(void *ctx)
{
    struct world *world = ctx;

    world->cuts++;
    longjmp(world->cpu, 1);
}

static void lay_out(struct world *world)
{
    const uint32_t slot = SLOT_BLOCKS * WORLD_BLOCK_BYTES;
    const uint32_t journal = ygg_journal_bytes(slot, WORLD_BLOCK_BYTES);
    const uint32_t before = 4 * WORLD_BLOCK_BYTES + journal;

    ram_flash_init(&world->ram, WORLD_BLOCK_BYTES, (before + 2 * slot) / WORLD_BLOCK_BYTES, 7);
    world->ram.on_cut = stop_cpu;
    world->ram.on_cut_ctx = world;
    world->layout = (struct ygg_layout){.flash = &world->ram.flash,
                                        .records = 0,
                                        .trust = 2 * WORLD_BLOCK_BYTES,
                                        .journal = 4 * WORLD_BLOCK_BYTES,
                                        .journal_bytes = journal,
                                        .slots = {before, before + slot},
                                        .slot_bytes = slot};
}

static void make_images(struct world *world)
{
    static const uint32_t lengths[WORLD_IMAGES] = {1500, 1777, 2048, 700};
    static const uint32_t counters[WORLD_IMAGES] = {2, 5, 2, 1};
    unsigned length = 0;

    for (unsigned i = 0; i < WORLD_IMAGES; i++) {
        for (uint32_t at = 0; at < lengths[i]; at++) {
            world->bytes[i][at] = (uint8_t)ram_flash_random(&world->ram);
        }
        world->images[i] = (struct ygg_image){.length = lengths[i], .counter = counters[i], .sequence = i};
        (void)EVP_Digest(world->bytes[i], lengths[i], world->images[i].digest, &length, EVP_sha256(), NULL);
    }
}

static enum ygg_err open_boot(struct world *world, enum ygg_slot running)
{
    world->boot = (struct ygg_boot){.layout = &world->layout,
                                    .hash = &posix_hash,
                                    .hash_ctx = world->hash,
                                    .counter_floor_min = 1,
                                    .boots_max = WORLD_BOOTS_MAX,
                                    .running = running};
    return ygg_boot_open(&world->boot);
}

void world_init(struct world *world, EVP_MD_CTX *hash)
{
    memset(world, 0, sizeof *world);
    world->hash = hash;
    world->confirmed = WORLD_NO_IMAGE;
    lay_out(world);
    make_images(world);
}

void world_make(struct world *world)
{
    memcpy(world->ram.bytes + world->layout.slots[YGG_SLOT_A], world->bytes[0], world->images[0].length);
    if (open_boot(world, YGG_SLOT_NONE) != YGG_OK ||
        ygg_boot_provision(&world->boot, YGG_SLOT_A, &world->images[0]) != YGG_OK) {
        world_fault(world, "a device cannot be provisioned");
    }
    world->confirm_requested[0] = true;
    world->confirmed = 0;
    world->floor_seen = world->boot.counter_floor;
}

int world_find(const struct world *world, enum ygg_slot slot)
{
    const uint8_t *in = world->ram.bytes + world->layout.slots[slot];

    for (int i = 0; i < WORLD_IMAGES; i++) {
        if (memcmp(in, world->bytes[i], world->images[i].length) == 0) {
            return i;
        }
    }
    return WORLD_NO_IMAGE;
}

void world_damage(struct world *world, enum ygg_slot slot)
{
    world->ram.bytes[world->layout.slots[slot] + 100] ^= 0x10;
    world->damage_done = true;
}

static int image_of(const struct world *world, const struct ygg_image *image)
{
    for (int i = 0; i < WORLD_IMAGES; i++) {
        if (memcmp(image->digest, world->images[i].digest, YGG_DIGEST_BYTES) == 0) {
            return i;
        }
    }
    return WORLD_NO_IMAGE;
}

/* Checks the invariants after a device has read its state. */
static void check_state(struct world *world)
{
    const struct ygg_boot *boot = &world->boot;
    int active = boot->active == YGG_SLOT_NONE ? WORLD_NO_IMAGE : image_of(world, &boot->slots[boot->active].image);

    if (world->confirmed == WORLD_NO_IMAGE) {
        return; /* A device that was not provisioned. */
    }
    if (active == WORLD_NO_IMAGE) {
        world_fault(world, "the confirmed slot is lost");
        return;
    }
    if (!world->confirm_requested[active]) {
        world_fault(world, "an unconfirmed image is permanent");
    }
    if (!world->confirm_pending && !world->damage_done && active != world->confirmed) {
        world_fault(world, "the permanent image is not the confirmed one");
    }
    if (boot->counter_floor < world->floor_seen) {
        world_fault(world, "the security counter decreased");
    }
    if (boot->counter_floor > world->images[active].counter && !world->damage_done) {
        world_fault(world, "the security counter exceeds that of the confirmed image");
    }
    world->floor_seen = boot->counter_floor;
}

/* Checks the invariants of the chosen slot. */
static int check_choice(struct world *world, enum ygg_slot slot)
{
    if (slot == YGG_SLOT_NONE) {
        if (!world->safe_mode_expected && !world->safe_mode_asked) {
            world_fault(world, "no image boots");
        }
        return WORLD_NO_IMAGE;
    }
    int image = world_find(world, slot);
    if (image == WORLD_NO_IMAGE) {
        world_fault(world, "an incomplete image boots");
        return image;
    }
    if (world->images[image].counter < world->floor_seen) {
        world_fault(world, "an image below the security counter boots");
    }
    if (slot != world->boot.active && slot != world->boot.trial) {
        world_fault(world, "a slot that is neither confirmed nor on trial boots");
    }
    world->starts[image]++;
    if (!world->confirm_requested[image] && world->starts[image] > WORLD_BOOTS_MAX) {
        world_fault(world, "an unconfirmed image is started too often");
    }
    return image;
}

static enum verdict power_on(struct world *world, const struct scenario *scenario)
{
    if (open_boot(world, YGG_SLOT_NONE) != YGG_OK) {
        world_fault(world, "the bootloader cannot read its state");
        return REACHED;
    }
    check_state(world);
    enum ygg_slot slot = ygg_boot_choose(&world->boot, world->safe_mode_asked);
    int image = check_choice(world, slot);
    if (open_boot(world, slot) != YGG_OK) {
        world_fault(world, "the image cannot read the boot state");
        return REACHED;
    }
    check_state(world);
    return world->fault == NULL ? scenario->program(world, image) : REACHED;
}

enum verdict world_run(struct world *world, const struct scenario *scenario)
{
    if (setjmp(world->cpu) != 0) {
        return RESTART; /* Power was restored. */
    }
    enum verdict verdict = power_on(world, scenario);
    if (world->ram.broken > 0) {
        world_fault(world, "the rules of the flash were violated");
    }
    return verdict;
}

enum ygg_err world_install(struct world *world, int image)
{
    const struct ygg_image *source = &world->images[image];
    uint32_t at = ygg_install_resume_offset(&world->boot, source, no_root);

    world->install.boot = &world->boot;
    enum ygg_err err = ygg_install_begin(&world->install, source, no_root, (uint64_t)image, at, true);
    while (err == YGG_OK && at < source->length) {
        uint32_t size = source->length - at < WORLD_CHUNK_BYTES ? source->length - at : WORLD_CHUNK_BYTES;

        err = ygg_install_write(&world->install, world->bytes[image] + at, size);
        at += size;
    }
    return err == YGG_OK ? ygg_install_finish(&world->install) : err;
}

void world_confirm(struct world *world, int image)
{
    world->confirm_requested[image] = true;
    world->confirm_pending = true;
    if (ygg_boot_confirm(&world->boot) != YGG_OK) {
        /* A cut just after the record: already confirmed. */
        if (world->boot.state != YGG_BOOT_CONFIRMED ||
            image_of(world, &world->boot.slots[world->boot.active].image) != image) {
            world_fault(world, "an image on trial cannot be confirmed");
            return;
        }
    }
    world->confirmed = image;
    world->confirm_pending = false;
    world->starts[image] = 0;
}
