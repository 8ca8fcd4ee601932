/* Patches made by detools itself (tools/make_patches.py), and invalid ones. */
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "ports/posix/platform.h"
#include "core/patch.h"
#include "tests/check.h"
#include "tests/ram_flash.h"
#include "tests/suites.h"

enum { BLOCK = 1024, SLOT = 8192, FILE_BYTES = 8192 };

static const uint8_t root[YGG_DIGEST_BYTES] = {9};
static struct ram_flash ram;
static struct ygg_layout layout;
static struct ygg_boot boot;
static struct ygg_install install;
static struct ygg_patch patch;
static struct ygg_image image;
static EVP_MD_CTX *hash;
static uint8_t old_image[FILE_BYTES], new_image[FILE_BYTES], bytes[FILE_BYTES];
static size_t old_size, new_size, size;

static size_t load(const char *name, uint8_t *out)
{
    char path[256];

    (void)snprintf(path, sizeof path, "tests/patches/%s", name);
    FILE *file = fopen(path, "rb");
    size_t got = file == NULL ? 0 : fread(out, 1, FILE_BYTES, file);
    if (file != NULL) {
        (void)fclose(file);
    }
    CHECK(got > 0);
    return got;
}

static void begin(void)
{
    const uint32_t before = 5 * BLOCK;

    old_size = load("old.bin", old_image);
    new_size = load("new.bin", new_image);
    hash = hash == NULL ? EVP_MD_CTX_new() : hash;
    ram_flash_init(&ram, BLOCK, (before + 2 * SLOT) / BLOCK, 5);
    layout = (struct ygg_layout){.flash = &ram.flash,
                                 .trust = 2 * BLOCK,
                                 .journal = 4 * BLOCK,
                                 .journal_bytes = BLOCK,
                                 .slots = {before, before + SLOT},
                                 .slot_bytes = SLOT};
    boot = (struct ygg_boot){
        .layout = &layout, .hash = &posix_hash, .hash_ctx = hash, .boots_max = 3, .running = YGG_SLOT_A};
    memcpy(ram.bytes + before, old_image, old_size);
    image = (struct ygg_image){.length = (uint32_t)old_size};
    (void)EVP_Digest(old_image, old_size, image.digest, NULL, EVP_sha256(), NULL);
    CHECK_EQ(ygg_boot_open(&boot), YGG_OK);
    CHECK_EQ(ygg_boot_provision(&boot, YGG_SLOT_A, &image), YGG_OK);
    image.length = (uint32_t)new_size;
    (void)EVP_Digest(new_image, new_size, image.digest, NULL, EVP_sha256(), NULL);
    install = (struct ygg_install){.boot = &boot};
    CHECK_EQ(ygg_install_begin(&install, &image, root, 1, 0, false), YGG_OK);
    patch = (struct ygg_patch){.install = &install, .from = before, .from_length = (uint32_t)old_size};
}

static void apply(const char *name, size_t step)
{
    begin();
    size = load(name, bytes);
    for (size_t at = 0; at < size; at += step) {
        CHECK_EQ(ygg_patch_write(&patch, bytes + at, size - at < step ? size - at : step), YGG_OK);
    }
    CHECK(ygg_patch_done(&patch));
    CHECK_EQ(ygg_install_finish(&install), YGG_OK);
    CHECK(memcmp(ram.bytes + layout.slots[YGG_SLOT_B], new_image, new_size) == 0);
    CHECK_EQ(ram.broken, 0);
}

static void a_patch_of_crle_makes_the_new_image(void)
{
    apply("crle.patch", 256);
    apply("crle.patch", 1);
}

static void a_patch_of_heatshrink_makes_the_new_image(void)
{
    apply("heatshrink.patch", 256);
    apply("heatshrink.patch", 1);
}

static void another_compression_is_refused(void)
{
    static const uint8_t others[] = {0x00, 0x01, 0x03, 0x05, 0x06, 0x12, 0x24, 0x82};

    for (size_t i = 0; i < sizeof others; i++) {
        begin();
        CHECK_EQ(ygg_patch_write(&patch, &others[i], 1), YGG_ERR_MALFORMED);
    }
    CHECK_EQ(ygg_patch_write(&patch, bytes, 1), YGG_ERR_TOO_LONG);
}

static void truncated_and_trailing_data_are_detected(const char *name)
{
    size = load(name, bytes);
    begin();
    CHECK_EQ(ygg_patch_write(&patch, bytes, size - 1), YGG_OK);
    CHECK(!ygg_patch_done(&patch));
    begin();
    bytes[size] = 0;
    CHECK_EQ(ygg_patch_write(&patch, bytes, size + 1), YGG_ERR_TOO_LONG);
}

static void a_patch_has_an_end(void)
{
    truncated_and_trailing_data_are_detected("crle.patch");
    truncated_and_trailing_data_are_detected("heatshrink.patch");
}

/* Endless data: a few bytes that expand to gigabytes stop at the announced length. */
static void a_patch_writes_no_more_than_the_image(void)
{
    /* CRLE; size of the image; then REPEATED 2^28 times a byte that means: 63 bytes of extra. */
    static const uint8_t bomb[] = {1, 0x80, 0x80, 0x80, 0x80, 0x01, 0x3F};
    uint8_t head[3] = {2, (uint8_t)(0x80U | (5800U & 0x3FU)), (uint8_t)(5800U >> 6U)};

    begin();
    CHECK_EQ(new_size, 5800);
    CHECK_EQ(ygg_patch_write(&patch, head, sizeof head), YGG_OK);
    CHECK(ygg_patch_write(&patch, bomb, sizeof bomb) != YGG_OK);
    CHECK(install.written <= new_size);
}

/* Any single changed byte either fails immediately or makes an image with a wrong digest, within the flash rules. */
static void a_damaged_patch_is_never_accepted(void)
{
    static const char *const names[] = {"crle.patch", "heatshrink.patch"};

    for (size_t which = 0; which < 2; which++) {
        size = load(names[which], bytes);
        for (size_t at = 0; at < size; at += 3) {
            begin();
            bytes[at] ^= (uint8_t)(1U << at % 8U);
            enum ygg_err err = ygg_patch_write(&patch, bytes, size);
            bool taken = err == YGG_OK && ygg_patch_done(&patch) && ygg_install_finish(&install) == YGG_OK;
            bool same = memcmp(ram.bytes + layout.slots[YGG_SLOT_B], new_image, new_size) == 0;
            bytes[at] ^= (uint8_t)(1U << at % 8U);
            CHECK(!taken || same);
            CHECK_EQ(ram.broken, 0);
        }
    }
}

void suite_patch(void)
{
    RUN(a_patch_of_crle_makes_the_new_image);
    RUN(a_patch_of_heatshrink_makes_the_new_image);
    RUN(another_compression_is_refused);
    RUN(a_patch_has_an_end);
    RUN(a_patch_writes_no_more_than_the_image);
    RUN(a_damaged_patch_is_never_accepted);
    EVP_MD_CTX_free(hash);
    hash = NULL;
}
