/* libFuzzer on the content of flash at boot: records, journal and roots of any bytes, with and without a valid CRC; and
 * signed metadata of any bytes. */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "ports/posix/platform.h"
#include "tests/ram_flash.h"
#include "ygg/install.h"
#include "ygg/trust.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BLOCK = 1024, SLOT = 4096, BEFORE = 5 * BLOCK };

static struct ram_flash ram;

static bool any_signature(void *ctx, const uint8_t *key, const uint8_t *digest, const uint8_t *signature)
{
    (void)ctx;
    (void)key;
    (void)digest;
    return (signature[0] & 1U) == 0;
}

static const struct ygg_verify verify = {.p256 = any_signature};

static void must(bool holds)
{
    if (!holds) {
        abort();
    }
}

/* Writes a valid CRC to the first records of a log. */
static void seal(uint32_t offset, uint32_t kind, uint32_t record_bytes)
{
    uint8_t *record = ram.bytes + offset;

    ygg_put32(record + record_bytes - 4, ygg_crc32(kind, record, record_bytes - 4));
}

static void boot_of(struct ygg_layout *layout, EVP_MD_CTX *hash)
{
    static const uint8_t root[YGG_DIGEST_BYTES];
    static uint8_t room[YGG_TRUST_RECORD_BYTES];
    const struct ygg_image image = {.length = 700};
    struct ygg_boot boot = {
        .layout = layout, .hash = &posix_hash, .hash_ctx = hash, .boots_max = 3, .running = YGG_SLOT_NONE};
    struct ygg_trust trust = {.layout = layout, .hash = &posix_hash, .hash_ctx = hash, .verify = &verify, .room = room};

    must(ygg_boot_open(&boot) == YGG_OK);
    enum ygg_slot slot = ygg_boot_choose(&boot, false);
    must(slot <= YGG_SLOT_NONE);
    must(slot == YGG_SLOT_NONE || ygg_boot_holds(&boot, slot, &boot.slots[slot].image));
    must(ygg_install_resume_offset(&boot, &image, root) <= image.length);
    (void)ygg_boot_rollback(&boot, 1);
    (void)ygg_boot_claim(&boot, 2);
    (void)ygg_trust_open(&trust, ram.bytes, 200);
    must(ram.broken == 0);
}

static void metadata_of(const uint8_t *data, size_t size)
{
    struct ygg_signed of;
    struct ygg_root root;
    struct ygg_manifest manifest;
    struct ygg_timestamp timestamp;

    if (ygg_signed_read(data, size, &of)) {
        must(of.payload >= data && of.payload + of.size <= data + size && of.count <= YGG_KEYS_MAX);
        data = of.payload;
        size = of.size;
    }
    if (ygg_root_read(data, size, &root)) {
        must(root.count >= 1 && root.count <= YGG_KEYS_MAX);
    }
    if (ygg_manifest_read(data, size, &manifest)) {
        must(manifest.length <= manifest.slot_bytes && manifest.device_class_size <= 31);
    }
    (void)ygg_timestamp_read(data, size, &timestamp);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static EVP_MD_CTX *hash;
    struct ygg_layout layout = {.flash = &ram.flash,
                                .trust = 2 * BLOCK,
                                .journal = 4 * BLOCK,
                                .journal_bytes = BLOCK,
                                .slots = {BEFORE, BEFORE + SLOT},
                                .slot_bytes = SLOT};

    hash = hash == NULL ? EVP_MD_CTX_new() : hash;
    ram_flash_init(&ram, BLOCK, (BEFORE + 2 * SLOT) / BLOCK, 1);
    metadata_of(data, size);
    if (size == 0) {
        return 0;
    }
    bool sealed = (data[0] & 1U) != 0;
    size = size - 1 < BEFORE ? size - 1 : BEFORE;
    memcpy(ram.bytes, data + 1, size);
    if (sealed) {
        seal(0, 0x59474231, YGG_BOOT_RECORD_BYTES);
        seal(layout.trust, 0x59475431, YGG_TRUST_RECORD_BYTES);
    }
    boot_of(&layout, hash);
    return 0;
}
