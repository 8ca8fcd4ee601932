/* Updates over the link: a valid one succeeds despite interruptions. Attacks are in test_ota_attacks.c. */
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include "core/merkle.h"
#include "ports/posix/platform.h"
#include "tests/check.h"
#include "tests/ota_fake.h"
#include "tests/suites.h"

static struct ota_fake fake;

static void offer_and_load(void)
{
    CHECK_EQ(ota_offer(&fake, false), YGG_OTA_OK);
    yggdrasil_device_v1_OtaResult result = ota_load(&fake, fake.image, fake.manifest.image_size_bytes);
    CHECK_EQ(result.outcome, yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_PENDING);
}

static void the_status_reports_the_running_image(void)
{
    ota_init(&fake);
    CHECK_EQ(fake.status.state, yggdrasil_device_v1_OtaState_OTA_STATE_IDLE);
    CHECK_EQ(fake.status.image_size_bytes, fake.factory_size);
    CHECK_EQ(fake.status.sequence, 7);
    CHECK_EQ(fake.status.security_counter, 3);
    CHECK_EQ(fake.status.root_version, 1);
    CHECK_EQ(fake.status.slot_size_bytes, OTA_SLOT_BYTES);
    CHECK_EQ(fake.status.patch_formats, 3);
    CHECK_EQ(fake.status.update_id, 0);
    CHECK_EQ(fake.status.outcome, yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_UNSPECIFIED);
    CHECK_EQ(fake.status.other_slot_sha256.size, 0);
    ota_free(&fake);
}

static void a_good_update_is_installed_tried_and_confirmed(void)
{
    ota_init(&fake);
    offer_and_load();
    CHECK(ygg_agent_wants_restart(&fake.device.agent));
    CHECK_EQ(fake.boot.counter_floor, 3);
    ota_boot(&fake);
    CHECK_EQ(fake.boot.running, YGG_SLOT_B);
    CHECK_EQ(fake.boot.active, YGG_SLOT_B);
    CHECK_EQ(fake.boot.counter_floor, 4);
    CHECK_EQ(fake.status.outcome, yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_CONFIRMED);
    CHECK_EQ(fake.status.sequence, 8);
    CHECK_EQ(fake.status.newest_sequence, 8);
    CHECK_EQ(fake.ram.broken, 0);
    ota_free(&fake);
}

static void a_running_image_is_rejected(void)
{
    ota_init(&fake);
    offer_and_load();
    ota_boot(&fake);
    CHECK_EQ(ota_offer(&fake, false), YGG_OTA_ALREADY_RUNNING);
    ota_free(&fake);
}

static void an_image_that_fails_its_self_test_reverts(void)
{
    ota_init(&fake);
    offer_and_load();
    fake.healthy = false;
    ota_boot(&fake);
    CHECK(fake.ota.restart);
    CHECK_EQ(fake.boot.active, YGG_SLOT_A);
    ota_boot(&fake);
    CHECK_EQ(fake.boot.running, YGG_SLOT_A);
    CHECK_EQ(fake.boot.counter_floor, 3);
    CHECK_EQ(fake.status.outcome, yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_REVERTED);
    CHECK_EQ(fake.status.code, yggdrasil_device_v1_OtaCode_OTA_CODE_SELF_TEST);
    ota_free(&fake);
}

/* An image that boots but never reaches a bridge. */
static void an_image_without_a_session_reverts_after_the_trial(void)
{
    ota_init(&fake);
    offer_and_load();
    struct ygg_boot *boot = &fake.boot;
    boot->running = YGG_SLOT_NONE;
    CHECK_EQ(ygg_boot_open(boot), YGG_OK);
    boot->running = ygg_boot_choose(boot, false);
    CHECK_EQ(boot->running, YGG_SLOT_B);
    fake.ota = (struct ygg_ota){.boot = boot,
                                .verify = fake.ota.verify,
                                .first_root = fake.first_root.bytes,
                                .first_root_size = fake.first_root.size,
                                .self_test = fake.ota.self_test,
                                .self_test_ctx = &fake,
                                .trial_ms = 30000};
    fake.device.connect_result = YGG_ERR_IO;
    CHECK_EQ(fake_start(&fake.device), YGG_OK);
    fake_run_until(&fake.device, fake.device.now_ms + 29999);
    CHECK(!ygg_agent_wants_restart(&fake.device.agent));
    fake_run_until(&fake.device, fake.device.now_ms + 2);
    fake_step(&fake.device);
    CHECK(ygg_agent_wants_restart(&fake.device.agent));
    ota_boot(&fake);
    CHECK_EQ(fake.boot.running, YGG_SLOT_A);
    CHECK_EQ(fake.status.outcome, yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_REVERTED);
    CHECK_EQ(fake.status.code, yggdrasil_device_v1_OtaCode_OTA_CODE_NOT_CONFIRMED);
    ota_free(&fake);
}

static void an_interrupted_download_resumes(void)
{
    ota_init(&fake);
    CHECK_EQ(ota_offer(&fake, false), YGG_OTA_OK);
    ota_load_some(&fake, fake.image, 5500, 10);
    ota_boot(&fake); /* A power cycle. */
    CHECK_EQ(fake.status.state, yggdrasil_device_v1_OtaState_OTA_STATE_PARTIAL);
    CHECK_EQ(fake.status.outcome, yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_PENDING);
    CHECK_EQ(ota_offer(&fake, false), YGG_OTA_OK);
    CHECK_EQ(fake.ota.at, 2 * OTA_BLOCK_BYTES);
    CHECK_EQ(ota_load(&fake, fake.image, 5500).outcome, yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_PENDING);
    CHECK_EQ(ota_accepted.offset_bytes, 2 * OTA_BLOCK_BYTES);
    ota_boot(&fake);
    CHECK_EQ(fake.boot.active, YGG_SLOT_B);
    CHECK_EQ(fake.ram.broken, 0);
    ota_free(&fake);
}

static void an_offer_of_the_previous_image_needs_no_chunk(void)
{
    ota_init(&fake);
    fake.manifest.security_counter = 3;
    offer_and_load();
    ota_boot(&fake);
    CHECK_EQ(fake.status.other_slot_sha256.size, 32);
    memcpy(fake.image, fake.factory, fake.factory_size);
    fake.manifest.image_size_bytes = fake.factory_size;
    fake.manifest.sequence = 7;
    fake.timestamp.allow_older = true;
    ota_seal(&fake);
    CHECK_EQ(ota_offer(&fake, false), YGG_OTA_OK);
    CHECK_EQ(ota_load(&fake, fake.image, 0).outcome, yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_PENDING);
    CHECK_EQ(ota_accepted.offset_bytes, fake.factory_size);
    ota_boot(&fake);
    CHECK_EQ(fake.boot.running, YGG_SLOT_A);
    CHECK_EQ(fake.status.outcome, yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_CONFIRMED);
    CHECK_EQ(fake.status.sequence, 7);
    ota_free(&fake);
}

static void a_local_rollback_boots_the_previous_image(void)
{
    ota_init(&fake);
    fake.manifest.security_counter = 3;
    ota_seal(&fake);
    CHECK_EQ(ygg_ota_roll_back(&fake.device.agent), YGG_ERR_STATE); /* No previous image. */
    offer_and_load();
    CHECK_EQ(ygg_ota_roll_back(&fake.device.agent), YGG_ERR_STATE); /* The new one is pending. */
    ota_boot(&fake);
    CHECK_EQ(fake.boot.running, YGG_SLOT_B);
    CHECK_EQ(ygg_ota_roll_back(&fake.device.agent), YGG_OK);
    CHECK(fake.ota.restart);
    CHECK_EQ(ygg_ota_roll_back(&fake.device.agent), YGG_ERR_STATE);
    ota_boot(&fake);
    CHECK_EQ(fake.boot.running, YGG_SLOT_A);
    CHECK_EQ(fake.boot.state, YGG_BOOT_CONFIRMED);           /* In a session, after its self-test. */
    CHECK_EQ(fake.status.update_id, 0);                      /* No update id. */
    CHECK_EQ(ygg_ota_roll_back(&fake.device.agent), YGG_OK); /* Forward again. */
    fake.healthy = false;
    ota_boot(&fake);
    ota_boot(&fake);
    CHECK_EQ(fake.boot.running, YGG_SLOT_A); /* An image that fails its self-test now is reverted. */
    ota_free(&fake);
}

static void a_local_rollback_below_the_counter_is_refused(void)
{
    ota_init(&fake);
    fake.manifest.security_counter = 4;
    ota_seal(&fake);
    offer_and_load();
    ota_boot(&fake);
    CHECK_EQ(fake.boot.counter_floor, 4);
    CHECK_EQ(ygg_ota_roll_back(&fake.device.agent), YGG_ERR_REFUSED);
    CHECK(!fake.ota.restart);
    ota_free(&fake);
}

static void a_bad_chunk_is_requested_again(void)
{
    yggdrasil_device_v1_OtaChunkRequest request = yggdrasil_device_v1_OtaChunkRequest_init_zero;

    ota_init(&fake);
    CHECK_EQ(ota_offer(&fake, false), YGG_OTA_OK);
    ota_load_some(&fake, fake.image, 5500, 3);
    (void)ota_take(&fake, 0, NULL, NULL);
    ota_send_chunk(&fake, fake.image, 5500, 3, 0x40);
    CHECK(ota_take(&fake, YGG_BODY_OTA_CHUNK_REQUEST, yggdrasil_device_v1_OtaChunkRequest_fields, &request));
    CHECK(request.resend);
    CHECK_EQ(request.offset_bytes, 3 * OTA_CHUNK_BYTES);
    ota_send_chunk(&fake, fake.image, 5500, 4, 0); /* In flight. */
    CHECK_EQ(fake.ota.at, 3 * OTA_CHUNK_BYTES);
    CHECK_EQ(ota_load(&fake, fake.image, 5500).outcome, yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_PENDING);
    ota_free(&fake);
}

static size_t load_file(const char *name, uint8_t *out)
{
    char path[256];

    (void)snprintf(path, sizeof path, "tests/patches/%s", name);
    FILE *file = fopen(path, "rb");
    size_t size = file == NULL ? 0 : fread(out, 1, OTA_SLOT_BYTES, file);
    if (file != NULL) {
        (void)fclose(file);
    }
    CHECK(size > 0);
    return size;
}

/* A device with the old image of the golden patches. */
static void init_for_patches(void)
{
    static uint8_t old[OTA_SLOT_BYTES];

    ota_init(&fake);
    fake.factory_size = (uint32_t)load_file("old.bin", old);
    memcpy(fake.factory, old, sizeof old);
    memset(fake.ram.bytes, YGG_FLASH_ERASED, fake.layout.trust);
    memcpy(fake.ram.bytes + fake.layout.slots[YGG_SLOT_A], old, fake.factory_size);
    struct ygg_image image = {.length = fake.factory_size, .counter = 3, .sequence = 7};
    (void)EVP_Digest(old, fake.factory_size, image.digest, NULL, EVP_sha256(), NULL);
    CHECK_EQ(ygg_boot_open(&fake.boot), YGG_OK);
    CHECK_EQ(ygg_boot_provision(&fake.boot, YGG_SLOT_A, &image), YGG_OK);
    fake.manifest.image_size_bytes = (uint32_t)load_file("new.bin", fake.image);
    fake.patch_size = (uint32_t)load_file("heatshrink.patch", fake.patch);
    ota_seal(&fake);
    ota_boot(&fake);
}

static void a_patch_is_applied_and_the_image_verified(void)
{
    init_for_patches();
    CHECK_EQ(ota_offer(&fake, true), YGG_OTA_OK);
    CHECK_EQ(ota_load(&fake, fake.patch, fake.patch_size).outcome, yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_PENDING);
    CHECK(ota_accepted.delta);
    ota_boot(&fake);
    CHECK_EQ(fake.boot.active, YGG_SLOT_B);
    CHECK_EQ(fake.ram.broken, 0);
    ota_free(&fake);
    init_for_patches();
    fake.patch[fake.patch_size / 2] ^= 1; /* The tree covers these bytes, the image differs. */
    CHECK_EQ(ota_offer(&fake, true), YGG_OTA_OK);
    yggdrasil_device_v1_OtaResult result = ota_load(&fake, fake.patch, fake.patch_size);
    CHECK_EQ(result.outcome, yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_FAILED);
    CHECK(result.code == yggdrasil_device_v1_OtaCode_OTA_CODE_DIGEST ||
          result.code == yggdrasil_device_v1_OtaCode_OTA_CODE_PATCH);
    fake.patch[fake.patch_size / 2] ^= 1;
    CHECK_EQ(ota_offer(&fake, false), YGG_OTA_OK); /* The service falls back to the image. */
    CHECK_EQ(ota_load(&fake, fake.image, fake.manifest.image_size_bytes).outcome,
             yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_PENDING);
    ota_free(&fake);
}

static void safe_mode_accepts_an_update(void)
{
    ota_init(&fake);
    memset(fake.ram.bytes + fake.layout.slots[YGG_SLOT_A] + 50, 0, 8);
    ota_boot(&fake);
    CHECK_EQ(fake.boot.running, YGG_SLOT_NONE);
    CHECK_EQ(fake.status.state, yggdrasil_device_v1_OtaState_OTA_STATE_SAFE_MODE);
    offer_and_load();
    ota_boot(&fake);
    CHECK_EQ(fake.boot.active, YGG_SLOT_B);
    CHECK_EQ(fake.status.state, yggdrasil_device_v1_OtaState_OTA_STATE_IDLE);
    ota_free(&fake);
}

static void an_update_can_be_aborted_until_it_is_booted(void)
{
    ota_init(&fake);
    CHECK_EQ(ota_offer(&fake, false), YGG_OTA_OK);
    ota_load_some(&fake, fake.image, 5500, 3);
    yggdrasil_device_v1_OtaAbort stop = {.update_id = fake.ota.update_id};
    yggdrasil_device_v1_OtaResult result = yggdrasil_device_v1_OtaResult_init_zero;
    fake_send(&fake.device, YGG_BODY_OTA_ABORT, yggdrasil_device_v1_OtaAbort_fields, &stop);
    fake_step(&fake.device);
    CHECK(ota_take(&fake, YGG_BODY_OTA_RESULT, yggdrasil_device_v1_OtaResult_fields, &result));
    CHECK_EQ(result.code, yggdrasil_device_v1_OtaCode_OTA_CODE_ABORTED);
    ota_free(&fake);
}

static void roots_are_rotated_by_both_thresholds(void)
{
    static struct ota_envelope roots[2], timestamp, release;

    ota_init(&fake);
    fake.root.version = 2;
    ota_sign(&fake, "ygg-ota-root-1", yggdrasil_device_v1_Root_fields, &fake.root, 1U << 0U | 1U << 2U, &roots[0]);
    fake.root.version = 3;
    fake.root.root.threshold = 3;
    ota_sign(&fake, "ygg-ota-root-1", yggdrasil_device_v1_Root_fields, &fake.root, 7, &roots[1]);
    yggdrasil_device_v1_OtaOffer offer = {.update_id = 5, .roots = 2};
    memcpy(fake.timestamp.nonce, fake.status.nonce, sizeof fake.timestamp.nonce);
    ota_sign(&fake, "ygg-ota-timestamp-1", yggdrasil_device_v1_Timestamp_fields, &fake.timestamp, 1U << 4U, &timestamp);
    ota_sign(&fake, "ygg-ota-release-1", yggdrasil_device_v1_ReleaseManifest_fields, &fake.manifest, 6, &release);
    /* It names no release. */
    CHECK_EQ(ota_offer_these(&fake, &offer, roots, &timestamp, &release), YGG_OTA_MIX_AND_MATCH);
    CHECK_EQ(fake.status.root_version, 3);
    ota_boot(&fake);
    CHECK_EQ(fake.status.root_version, 3);
    CHECK_EQ(ota_offer(&fake, false), YGG_OTA_OK);
    ota_free(&fake);
}

static jmp_buf cpu;

static void stop_cpu(void *ctx)
{
    (void)ctx;
    longjmp(cpu, 1);
}

/* Rotates a root and stores a timestamp with a power cut before, and tears in, every flash operation. */
static void a_root_survives_power_cuts(void)
{
    static struct ota_envelope root;
    static struct ram_flash before;
    static uint8_t room[YGG_TRUST_RECORD_BYTES];
    volatile unsigned cuts = 0;
    volatile bool rotated = false;

    ota_init(&fake);
    fake.root.version = 2;
    ota_sign(&fake, "ygg-ota-root-1", yggdrasil_device_v1_Root_fields, &fake.root, 3, &root);
    fake.ram.on_cut = stop_cpu;
    before = fake.ram;
    fake.ota.trust.room = room;
    for (volatile uint32_t at = 1; !rotated; at++) {
        for (volatile uint64_t tear = 0; tear < 16 && !rotated; tear++) {
            fake.ram = before;
            CHECK_EQ(ygg_trust_open(&fake.ota.trust, fake.first_root.bytes, fake.first_root.size), YGG_OTA_OK);
            fake.ram.operations = 0;
            fake.ram.cut_at = at;
            fake.ram.tear = tear > 0;
            fake.ram.random = tear * 2U + 1U;
            if (setjmp(cpu) == 0) {
                CHECK_EQ(ygg_trust_next_root(&fake.ota.trust, root.bytes, root.size), YGG_OTA_OK);
                rotated = true;
            } else {
                cuts++;
            }
            fake.ram.cut_at = 0;
            CHECK_EQ(ygg_trust_open(&fake.ota.trust, (const uint8_t *)"", 0), YGG_OTA_OK); /* Never without a root. */
            CHECK(fake.ota.trust.root.version == 1 || fake.ota.trust.root.version == 2);
            CHECK(!rotated || fake.ota.trust.root.version == 2);
            enum ygg_ota_code again = ygg_trust_next_root(&fake.ota.trust, root.bytes, root.size);
            CHECK(again == YGG_OTA_OK || (fake.ota.trust.root.version == 2 && again == YGG_OTA_ROOT));
            CHECK_EQ(fake.ram.broken, 0);
        }
    }
    CHECK(cuts >= 16);
    ota_free(&fake);
}

/* Every chunk of trees of every shape is valid only at its own index. */
static void proofs_of_trees_of_every_shape_hold(void)
{
    ota_init(&fake);
    for (uint32_t chunks = 2; chunks <= 21; chunks += 1) {
        ota_boot(&fake);
        (void)ygg_install_discard(&fake.ota.install);
        fake.manifest.image_size_bytes = chunks * OTA_CHUNK_BYTES - chunks;
        fake.manifest.sequence = fake.timestamp.newest_sequence = 8 + chunks;
        fake.image[0] = (uint8_t)chunks;
        ota_seal(&fake);
        CHECK_EQ(ota_offer(&fake, false), YGG_OTA_OK);
        uint32_t before = fake.ota.at;
        ota_send_chunk(&fake, fake.image, fake.manifest.image_size_bytes, 0, 1);
        CHECK_EQ(fake.ota.at, before);
        ota_load_some(&fake, fake.image, fake.manifest.image_size_bytes, chunks);
        CHECK_EQ(fake.ota.phase, YGG_OTA_INSTALLED);
        CHECK_EQ(ygg_boot_revert(&fake.boot, YGG_REVERT_REQUESTED), YGG_OK);
    }
    ota_free(&fake);
}

void suite_ota(void)
{
    RUN(the_status_reports_the_running_image);
    RUN(a_good_update_is_installed_tried_and_confirmed);
    RUN(a_running_image_is_rejected);
    RUN(an_image_that_fails_its_self_test_reverts);
    RUN(an_image_without_a_session_reverts_after_the_trial);
    RUN(an_interrupted_download_resumes);
    RUN(an_offer_of_the_previous_image_needs_no_chunk);
    RUN(a_local_rollback_boots_the_previous_image);
    RUN(a_local_rollback_below_the_counter_is_refused);
    RUN(a_bad_chunk_is_requested_again);
    RUN(a_patch_is_applied_and_the_image_verified);
    RUN(safe_mode_accepts_an_update);
    RUN(an_update_can_be_aborted_until_it_is_booted);
    RUN(roots_are_rotated_by_both_thresholds);
    RUN(a_root_survives_power_cuts);
    RUN(proofs_of_trees_of_every_shape_hold);
}
