/* A device whose power fails: flash, images, and what has to be true of them at every boot.
 *
 * The boot state machine, the install path and the trust store are the real ones; the flash is tests/ram_flash. A play is a
 * scenario with two power cuts at chosen operations: the first counted from the beginning, the second from the
 * boot that recovers from the first. Then the device is left in peace and has to get to the scenario's end. */
#ifndef YGG_TESTS_POWER_WORLD_H
#define YGG_TESTS_POWER_WORLD_H

#include <openssl/evp.h>
#include <setjmp.h>

#include "tests/ram_flash.h"
#include "ygg/install.h"

enum { WORLD_IMAGES = 4, WORLD_IMAGE_BYTES = 2048, WORLD_BLOCK_BYTES = 512, WORLD_CHUNK_BYTES = 256, WORLD_RUNS_MAX = 40,
       WORLD_BOOTS_MAX = 3, WORLD_NO_IMAGE = -1 };

/* What a program that was booted does next. */
enum verdict { RESTART, REACHED };

struct world {
    struct ram_flash ram;
    struct ygg_layout layout;
    struct ygg_boot boot;
    struct ygg_install install;
    struct ygg_image images[WORLD_IMAGES];
    uint8_t bytes[WORLD_IMAGES][WORLD_IMAGE_BYTES];
    /* What the outside knows. */
    bool confirm_requested[WORLD_IMAGES];      /* Confirmation was asked for: it may be permanent. */
    int confirmed;                 /* The image whose confirmation was answered with YGG_OK last, or the factory's. */
    bool confirm_pending;                 /* Another confirmation was asked for since. */
    unsigned starts[WORLD_IMAGES];  /* How often each was started since it was confirmed or offered. */
    uint32_t floor_seen;           /* Greatest security counter that the device has held. */
    bool damage_done;              /* The scenario has damaged what it wanted to damage. */
    bool safe_mode_expected;       /* This scenario may end up in safe mode. */
    bool safe_mode_asked;          /* The next boot is asked for safe mode. */
    unsigned cuts;                 /* That came in this play. */
    const char *fault;             /* The first thing that was not so; NULL: none. */
    jmp_buf cpu;                   /* Where the CPU stops. */
    EVP_MD_CTX *hash;
};

struct scenario {
    const char *name;
    void (*prepare)(struct world *world); /* After the factory: image 0 in slot A, confirmed. No power cuts. */
    enum verdict (*program)(struct world *world, int image); /* WORLD_NO_IMAGE: safe mode. */
    int end;                              /* The image that is confirmed in the end. */
    unsigned starts_of_1;                  /* How often image 1 is started without a cut; 0: not looked at. */
};

/* A flash with nothing in it, images of random bytes. `hash` is the caller's. */
void world_init(struct world *world, EVP_MD_CTX *hash);

/* The factory: image 0 into slot A. */
void world_make(struct world *world);

/* Boots once and runs the program; cut or not. */
enum verdict world_run(struct world *world, const struct scenario *scenario);

/* Notes the first fault. */
void world_fault(struct world *world, const char *what);

/* For programs: installs an image, or goes on with it, then restarts. Notes a fault where it is refused. */
enum ygg_err world_install(struct world *world, int image);

/* For programs: asks for the running image to be confirmed and notes what the outside knows then. */
void world_confirm(struct world *world, int image);

/* The image whose bytes a slot begins with, whole; WORLD_NO_IMAGE: none. */
int world_find(const struct world *world, enum ygg_slot slot);

/* Changes a byte of an image in a slot, past all rules: an attacker with a clip on the chip, or a failing cell. */
void world_damage(struct world *world, enum ygg_slot slot);

extern const struct scenario world_scenarios[];
extern const unsigned world_scenarios_count;

#endif
