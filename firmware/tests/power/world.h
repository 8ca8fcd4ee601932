/* A device whose power fails: flash, images, and the invariants that hold at every boot.
 *
 * The boot state machine, the install path and the trust store are real; the flash is tests/ram_flash. A play is a
 * scenario with two power cuts at chosen operations: the first counted from the beginning, the second from the boot
 * that recovers from the first. After them the device must reach the scenario's end. */
#ifndef YGG_TESTS_POWER_WORLD_H
#define YGG_TESTS_POWER_WORLD_H

#include <openssl/evp.h>
#include <setjmp.h>

#include "tests/ram_flash.h"
#include "ygg/install.h"

enum {
    WORLD_IMAGES = 4,
    WORLD_IMAGE_BYTES = 2048,
    WORLD_BLOCK_BYTES = 512,
    WORLD_CHUNK_BYTES = 256,
    WORLD_RUNS_MAX = 40,
    WORLD_BOOTS_MAX = 3,
    WORLD_NO_IMAGE = -1
};

/* Next step after a program. */
enum verdict { RESTART, REACHED };

struct world {
    struct ram_flash ram;
    struct ygg_layout layout;
    struct ygg_boot boot;
    struct ygg_install install;
    struct ygg_image images[WORLD_IMAGES];
    uint8_t bytes[WORLD_IMAGES][WORLD_IMAGE_BYTES];
    /* Facts known to an external observer. */
    bool confirm_requested[WORLD_IMAGES]; /* Confirmation was requested: it may be permanent. */
    int confirmed;                        /* Latest image confirmed with YGG_OK, or the factory image. */
    bool confirm_pending;                 /* Another confirmation was requested since. */
    unsigned starts[WORLD_IMAGES];        /* Starts of each image since it was confirmed or offered. */
    uint32_t floor_seen;                  /* Highest security counter that the device has reached. */
    bool damage_done;                     /* The scenario has applied its damage. */
    bool safe_mode_expected;              /* This scenario may end up in safe mode. */
    bool safe_mode_asked;                 /* The next boot requests safe mode. */
    unsigned cuts;                        /* Cuts in this play. */
    const char *fault;                    /* First violation; NULL: none. */
    jmp_buf cpu;                          /* Return point of a cut. */
    EVP_MD_CTX *hash;
};

struct scenario {
    const char *name;
    void (*prepare)(struct world *world); /* Runs after provisioning: image 0 in slot A, confirmed. No power cuts. */
    enum verdict (*program)(struct world *world, int image); /* WORLD_NO_IMAGE: safe mode. */
    int end;                                                 /* Image that is confirmed at the end. */
    unsigned starts_of_1;                                    /* Starts of image 1 without a cut; 0: not checked. */
};

/* Initialises an empty flash and images of random bytes. `hash` is the caller's. */
void world_init(struct world *world, EVP_MD_CTX *hash);

/* Provisions image 0 in slot A. */
void world_make(struct world *world);

/* Boots once and runs the program, with or without a cut. */
enum verdict world_run(struct world *world, const struct scenario *scenario);

/* Records the first violation. */
void world_fault(struct world *world, const char *what);

/* For programs: installs an image, or resumes, then restarts. Records a violation if it is refused. */
enum ygg_err world_install(struct world *world, int image);

/* For programs: confirms the running image and updates the observer's facts. */
void world_confirm(struct world *world, int image);

/* Returns the image that a slot begins with, complete; WORLD_NO_IMAGE: none. */
int world_find(const struct world *world, enum ygg_slot slot);

/* Changes a byte of an image in a slot, bypassing all rules: an attacker with a clip on the chip, or a failing cell. */
void world_damage(struct world *world, enum ygg_slot slot);

extern const struct scenario world_scenarios[];
extern const unsigned world_scenarios_count;

#endif
