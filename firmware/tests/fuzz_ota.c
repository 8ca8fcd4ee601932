/* libFuzzer on updates over the link: any frames 32 to 41 in any order, with signatures that are randomly valid.
 *
 * abort() checks: flash is written by its rules, only slots that are confirmed or on trial boot, and the confirmed
 * image stays until another one is confirmed. */
#include <stdlib.h>
#include <string.h>

#include "tests/fake.h"
#include "tests/ram_flash.h"
#include "ygg/ota.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BLOCK = 1024, SLOT = 4096, BEFORE = 5 * BLOCK, ACTS_MAX = 200, STEPS_MAX = 1000, FACTORY_BYTES = 1000 };

static const struct ygg_feature features[] = {YGG_FEATURE_OTA};
static struct fake fake;
static struct ram_flash ram;
static struct ygg_boot boot;
static struct ygg_ota ota;

static void must(bool holds)
{
    if (!holds) {
        abort();
    }
}

static bool any_signature(void *ctx, const uint8_t *key, const uint8_t *digest, const uint8_t *signature)
{
    (void)ctx;
    (void)key;
    (void)digest;
    return (signature[0] & 1U) == 0;
}

static bool self_test(void *ctx)
{
    (void)ctx;
    return true;
}

static const struct ygg_verify verify = {.p256 = any_signature};

static void step(void)
{
    for (int steps = 0;; steps++) {
        must(steps < STEPS_MAX);
        ygg_agent_step(&fake.agent);
        if (ygg_agent_wake_ms(&fake.agent) > fake.now_ms) {
            break;
        }
    }
    must(ram.broken == 0);
    must(ota.install.written <= SLOT && ota.metadata_have <= sizeof ota.metadata);
    must(boot.active == YGG_SLOT_A);
    fake_drain(&fake);
}

static void negotiate(void)
{
    yggdrasil_device_v1_Welcome welcome = fake_welcome(false);
    const yggdrasil_device_v1_ContractNotice contract = {.revision = 1};

    welcome.features_count = 1;
    memcpy(welcome.features[0].name, "ota", sizeof "ota");
    welcome.features[0].version = 1;
    step();
    fake_send(&fake, YGG_BODY_WELCOME, yggdrasil_device_v1_Welcome_fields, &welcome);
    step();
    fake_send(&fake, YGG_BODY_CONTRACT, yggdrasil_device_v1_ContractNotice_fields, &contract);
    step();
}

static void make_device(const struct ygg_layout *layout)
{
    struct ygg_image image = {.length = FACTORY_BYTES, .counter = 1};

    (void)EVP_Digest(ram.bytes + BEFORE, FACTORY_BYTES, image.digest, NULL, EVP_sha256(), NULL);
    boot = (struct ygg_boot){
        .layout = layout, .hash = fake.hal.hash, .hash_ctx = fake.hash, .boots_max = 3, .running = YGG_SLOT_A};
    must(ygg_boot_open(&boot) == YGG_OK && ygg_boot_provision(&boot, YGG_SLOT_A, &image) == YGG_OK);
    ota = (struct ygg_ota){.boot = &boot, .verify = &verify, .self_test = self_test, .trial_ms = 1000};
    fake.config.ota = &ota;
    fake.config.features = features;
    fake.config.features_count = 1;
    must(fake_start(&fake) == YGG_OK);
    ota.usable = true; /* Without a root: any key of any root is valid. */
    negotiate();
}

/* Replaces the nonce in the frame, if the input has room for it: the fuzzer cannot guess that of this session. */
static void act(const uint8_t **data, size_t *size)
{
    uint8_t what = *(*data)++;
    size_t length = (size_t)*(*data)++ * 4U;

    *size -= 2;
    length = length < *size ? length : *size;
    if (what == 255) {
        fake.now_ms += length * length;
    } else {
        fake_send_raw(&fake, 32U + what % 10U, *data, length);
    }
    *data += length;
    *size -= length;
    step();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ygg_layout layout;

    layout = (struct ygg_layout){.flash = &ram.flash,
                                 .trust = 2 * BLOCK,
                                 .journal = 4 * BLOCK,
                                 .journal_bytes = BLOCK,
                                 .slots = {BEFORE, BEFORE + SLOT},
                                 .slot_bytes = SLOT};
    ram_flash_init(&ram, BLOCK, (BEFORE + 2 * SLOT) / BLOCK, 1);
    fake_reset(&fake);
    make_device(&layout);
    for (int acts = 0; acts < ACTS_MAX && size >= 2; acts++) {
        act(&data, &size);
    }
    ygg_agent_stop(&fake.agent);
    fake.now_ms += 1000;
    step();
    fake_free(&fake);
    return 0;
}
