/* Attacks on updates, at the device; named after The Update Framework where possible. A refused offer leaves the flash
 * unchanged, and the next valid one is accepted. */
#include <pb_decode.h>
#include <string.h>

#include "tests/check.h"
#include "tests/ota_fake.h"
#include "tests/suites.h"

static struct ota_fake fake;

/* The modified offer is refused with this code, before anything is written; the original is accepted. */
static void refused(enum ygg_ota_code code)
{
    CHECK_EQ(ota_offer(&fake, false), code);
    CHECK(ota_untouched(&fake));
    CHECK_EQ(fake.ram.broken, 0);
    ota_free(&fake);
    ota_init(&fake);
    CHECK_EQ(ota_offer(&fake, false), YGG_OTA_OK);
    ota_free(&fake);
}

static void load_until_result(yggdrasil_device_v1_OtaResult *result)
{
    *result = (yggdrasil_device_v1_OtaResult)yggdrasil_device_v1_OtaResult_init_zero;
    CHECK(ota_take(&fake, YGG_BODY_OTA_RESULT, yggdrasil_device_v1_OtaResult_fields, result));
}

static void arbitrary_software(void)
{
    ota_init(&fake);
    fake.release_signers = 1U << 5U; /* A key in no role. */
    refused(YGG_OTA_SIGNATURE);
    ota_init(&fake);
    fake.release_signers = 0;
    refused(YGG_OTA_SIGNATURE);
    ota_init(&fake);
    fake.release_signers = 1U << 0U | 1U << 4U; /* Keys of the root, but in other roles. */
    refused(YGG_OTA_SIGNATURE);
}

static void a_single_stolen_key_below_the_threshold(void)
{
    ota_init(&fake);
    fake.release_signers = 1U << 2U;
    refused(YGG_OTA_SIGNATURE);
}

/* Two signatures of one key count once. */
static void a_stolen_key_that_signs_twice(void)
{
    static yggdrasil_device_v1_Envelope envelope;
    static struct ota_envelope release, timestamp;
    yggdrasil_device_v1_OtaOffer offer = {.update_id = 6};

    ota_init(&fake);
    ota_sign(&fake, "ygg-ota-release-1", yggdrasil_device_v1_ReleaseManifest_fields, &fake.manifest, 1U << 2U,
             &release);
    pb_istream_t in = pb_istream_from_buffer(release.bytes, release.size);
    CHECK(pb_decode(&in, yggdrasil_device_v1_Envelope_fields, &envelope));
    envelope.signatures[1] = envelope.signatures[0];
    envelope.signatures_count = 2;
    pb_ostream_t out = pb_ostream_from_buffer(release.bytes, sizeof release.bytes);
    CHECK(pb_encode(&out, yggdrasil_device_v1_Envelope_fields, &envelope));
    release.size = out.bytes_written;
    memcpy(fake.timestamp.nonce, fake.status.nonce, sizeof fake.timestamp.nonce);
    ota_sign(&fake, "ygg-ota-timestamp-1", yggdrasil_device_v1_Timestamp_fields, &fake.timestamp, 1U << 4U, &timestamp);
    CHECK_EQ(ota_offer_these(&fake, &offer, NULL, &timestamp, &release), YGG_OTA_SIGNATURE);
    CHECK(ota_untouched(&fake));
    ota_free(&fake);
}

/* A signature for one role is invalid for another. */
static void a_signature_of_another_role(void)
{
    static struct ota_envelope release, timestamp;
    yggdrasil_device_v1_OtaOffer offer = {.update_id = 6};

    ota_init(&fake);
    memcpy(fake.timestamp.nonce, fake.status.nonce, sizeof fake.timestamp.nonce);
    ota_sign(&fake, "ygg-ota-timestamp-1", yggdrasil_device_v1_Timestamp_fields, &fake.timestamp, 1U << 4U, &timestamp);
    ota_sign(&fake, "ygg-ota-root-1", yggdrasil_device_v1_ReleaseManifest_fields, &fake.manifest, 6, &release);
    CHECK_EQ(ota_offer_these(&fake, &offer, NULL, &timestamp, &release), YGG_OTA_SIGNATURE);
    CHECK(ota_untouched(&fake));
    ota_free(&fake);
}

static void rollback(void)
{
    ota_init(&fake);
    fake.manifest.sequence = 6; /* 7 is running. */
    refused(YGG_OTA_SEQUENCE);
}

static void downgrade_of_the_counter(void)
{
    ota_init(&fake);
    fake.manifest.security_counter = 2; /* The floor is 3. */
    refused(YGG_OTA_SECURITY_COUNTER);
    ota_init(&fake);
    fake.manifest.security_counter = 2;
    fake.timestamp.allow_older = true; /* It affects sequences, not counters. */
    refused(YGG_OTA_SECURITY_COUNTER);
}

/* A release with a high sequence would block all later ones. */
static void fast_forward(void)
{
    ota_init(&fake);
    fake.manifest.sequence = 4000000000U;
    refused(YGG_OTA_SEQUENCE);
}

/* A stolen timestamp key raised the sequence; a new root with another key recovers. */
static void recovery_from_a_fast_forwarded_timestamp(void)
{
    static struct ota_envelope root, timestamp, release;
    yggdrasil_device_v1_OtaOffer offer = {.update_id = 6, .roots = 1};
    uint8_t key[64];

    ota_init(&fake);
    fake.timestamp.newest_sequence = 4000000000U;
    fake.release_signers = 0;
    CHECK_EQ(ota_offer(&fake, false), YGG_OTA_SIGNATURE);
    fake.release_signers = 6;
    fake.timestamp.newest_sequence = 8;
    CHECK_EQ(ota_offer(&fake, false), YGG_OTA_STALE);
    CHECK(ota_untouched(&fake));
    fake.root.version = 2; /* Keys 3 and 4 swap: a former release key now signs timestamps. */
    memcpy(key, fake.root.keys[3], sizeof key);
    memcpy(fake.root.keys[3], fake.root.keys[4], sizeof key);
    memcpy(fake.root.keys[4], key, sizeof key);
    ota_sign(&fake, "ygg-ota-root-1", yggdrasil_device_v1_Root_fields, &fake.root, 3, &root);
    memcpy(fake.timestamp.nonce, fake.status.nonce, sizeof fake.timestamp.nonce);
    ota_sign(&fake, "ygg-ota-timestamp-1", yggdrasil_device_v1_Timestamp_fields, &fake.timestamp, 1U << 3U, &timestamp);
    ota_sign(&fake, "ygg-ota-release-1", yggdrasil_device_v1_ReleaseManifest_fields, &fake.manifest, 6, &release);
    CHECK_EQ(ota_offer_these(&fake, &offer, &root, &timestamp, &release), YGG_OTA_OK);
    CHECK_EQ(fake.ota.trust.root.version, 2);
    CHECK_EQ(fake.ota.trust.newest_sequence, 8);
    ota_boot(&fake);
    CHECK_EQ(fake.status.newest_sequence, 8);
    CHECK_EQ(ota_offer(&fake, false), YGG_OTA_SIGNATURE); /* Signed by the stolen key. */
    ota_free(&fake);
}

/* Old metadata that was valid in its time. */
static void indefinite_freeze(void)
{
    ota_init(&fake);
    fake.timestamp.newest_sequence = 20;
    fake.manifest.sequence = 20;
    CHECK_EQ(ota_offer(&fake, false), YGG_OTA_OK);
    ota_boot(&fake);
    CHECK_EQ(fake.status.newest_sequence, 20); /* Stored across a restart. */
    fake.timestamp.newest_sequence = 19;
    fake.manifest.sequence = 19;
    CHECK_EQ(ota_offer(&fake, false), YGG_OTA_STALE);
    ota_free(&fake);
}

static void a_replayed_timestamp(void)
{
    static struct ota_envelope timestamp, release;
    yggdrasil_device_v1_OtaOffer offer = {.update_id = 6};

    ota_init(&fake);
    memcpy(fake.timestamp.nonce, fake.status.nonce, sizeof fake.timestamp.nonce);
    ota_sign(&fake, "ygg-ota-timestamp-1", yggdrasil_device_v1_Timestamp_fields, &fake.timestamp, 1U << 4U, &timestamp);
    ota_sign(&fake, "ygg-ota-release-1", yggdrasil_device_v1_ReleaseManifest_fields, &fake.manifest, 6, &release);
    CHECK_EQ(ota_offer_these(&fake, &offer, NULL, &timestamp, &release), YGG_OTA_MIX_AND_MATCH);
    CHECK_EQ(ota_offer_these(&fake, &offer, NULL, &timestamp, &release), YGG_OTA_STALE); /* In the same session. */
    ota_boot(&fake);
    CHECK_EQ(ota_offer_these(&fake, &offer, NULL, &timestamp, &release), YGG_OTA_STALE); /* In the next. */
    CHECK(ota_untouched(&fake));
    ota_free(&fake);
}

/* A manifest that was signed and offered before, with its timestamp. */
static void a_replayed_manifest(void)
{
    static struct ota_envelope timestamp, release;
    yggdrasil_device_v1_OtaOffer offer = {.update_id = 6};

    ota_init(&fake);
    CHECK_EQ(ota_offer(&fake, false), YGG_OTA_OK);
    ota_boot(&fake);
    ota_sign(&fake, "ygg-ota-timestamp-1", yggdrasil_device_v1_Timestamp_fields, &fake.timestamp, 1U << 4U, &timestamp);
    ota_sign(&fake, "ygg-ota-release-1", yggdrasil_device_v1_ReleaseManifest_fields, &fake.manifest, 6, &release);
    CHECK_EQ(ota_offer_these(&fake, &offer, NULL, &timestamp, &release), YGG_OTA_STALE);
    CHECK_EQ(fake.ota.phase, YGG_OTA_IDLE);
    ota_free(&fake);
}

static void a_timestamp_for_another_device(void)
{
    ota_init(&fake);
    memcpy(fake.timestamp.device_id, "porch-2", 8);
    refused(YGG_OTA_STALE);
}

static void a_timestamp_by_another_key(void)
{
    ota_init(&fake);
    fake.timestamp_signers = 1U << 1U;
    refused(YGG_OTA_SIGNATURE);
}

/* Two valid releases: the manifest of one with the timestamp of the other. */
static void mix_and_match(void)
{
    static struct ota_envelope timestamp, release;
    yggdrasil_device_v1_OtaOffer offer = {.update_id = 6};

    ota_init(&fake);
    memcpy(fake.timestamp.nonce, fake.status.nonce, sizeof fake.timestamp.nonce);
    fake.timestamp.release_sha256.size = 32;
    memset(fake.timestamp.release_sha256.bytes, 0x77, 32);
    ota_sign(&fake, "ygg-ota-timestamp-1", yggdrasil_device_v1_Timestamp_fields, &fake.timestamp, 1U << 4U, &timestamp);
    ota_sign(&fake, "ygg-ota-release-1", yggdrasil_device_v1_ReleaseManifest_fields, &fake.manifest, 6, &release);
    CHECK_EQ(ota_offer_these(&fake, &offer, NULL, &timestamp, &release), YGG_OTA_MIX_AND_MATCH);
    CHECK(ota_untouched(&fake));
    ota_free(&fake);
}

static void the_wrong_device_class(void)
{
    ota_init(&fake);
    memcpy(fake.manifest.device_class, "simulator", 10);
    refused(YGG_OTA_DEVICE_CLASS);
}

static void the_wrong_slot_size(void)
{
    ota_init(&fake);
    fake.manifest.slot_size_bytes = OTA_SLOT_BYTES * 2;
    refused(YGG_OTA_SLOT_SIZE);
}

static void an_expired_root(void)
{
    ota_init(&fake);
    fake.timestamp.time_unix_s = fake.root.expires_unix_s;
    refused(YGG_OTA_EXPIRED);
}

static void an_expired_release(void)
{
    ota_init(&fake);
    fake.timestamp.time_unix_s = fake.manifest.expires_unix_s;
    refused(YGG_OTA_EXPIRED);
}

/* A root signed only by its own keys, one that skips a version, one with too few of the old keys. */
static void an_untrusted_root(void)
{
    static struct ota_envelope root, timestamp, release;
    static const struct {
        uint32_t version;
        uint64_t signers;
    } cases[] = {{2, 1U << 5U}, {3, 3}, {1, 3}, {2, 1U << 1U}, {2, 1U << 3U | 1U << 4U}};
    yggdrasil_device_v1_OtaOffer offer = {.update_id = 6, .roots = 1};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ota_init(&fake);
        fake.root.version = cases[i].version;
        ota_sign(&fake, "ygg-ota-root-1", yggdrasil_device_v1_Root_fields, &fake.root, cases[i].signers, &root);
        ota_sign(&fake, "ygg-ota-timestamp-1", yggdrasil_device_v1_Timestamp_fields, &fake.timestamp, 1U << 4U,
                 &timestamp);
        ota_sign(&fake, "ygg-ota-release-1", yggdrasil_device_v1_ReleaseManifest_fields, &fake.manifest, 6, &release);
        CHECK_EQ(ota_offer_these(&fake, &offer, &root, &timestamp, &release), YGG_OTA_ROOT);
        CHECK_EQ(fake.status.root_version, 1);
        CHECK(ota_untouched(&fake));
        ota_free(&fake);
    }
}

/* The old keys sign a root that does not meet its own threshold. */
static void a_root_without_its_own_threshold(void)
{
    static struct ota_envelope root, timestamp, release;
    yggdrasil_device_v1_OtaOffer offer = {.update_id = 6, .roots = 1};

    ota_init(&fake);
    fake.root.version = 2;
    fake.root.root.threshold = 3;
    ota_sign(&fake, "ygg-ota-root-1", yggdrasil_device_v1_Root_fields, &fake.root, 3, &root);
    ota_sign(&fake, "ygg-ota-timestamp-1", yggdrasil_device_v1_Timestamp_fields, &fake.timestamp, 1U << 4U, &timestamp);
    ota_sign(&fake, "ygg-ota-release-1", yggdrasil_device_v1_ReleaseManifest_fields, &fake.manifest, 6, &release);
    CHECK_EQ(ota_offer_these(&fake, &offer, &root, &timestamp, &release), YGG_OTA_ROOT);
    CHECK_EQ(fake.status.root_version, 1);
    ota_free(&fake);
}

/* --- during the download
 * ---------------------------------------------------------------------------------------------- */

static void the_wrong_precursor(void)
{
    ota_init(&fake);
    fake.patch_size = 300;
    fake.factory[9] ^= 1; /* The patch is for an image other than the running one. */
    CHECK_EQ(ota_offer(&fake, true), YGG_OTA_PRECURSOR);
    CHECK(ota_untouched(&fake));
    ota_free(&fake);
}

/* The manifest signs a patch from this image; another one is offered. */
static void a_patch_other_than_the_signed_one(void)
{
    ota_init(&fake);
    fake.patch_size = 300;
    fake.manifest.has_delta = true;
    fake.manifest.delta.patch_size_bytes = 299;
    (void)EVP_Digest(fake.factory, fake.factory_size, fake.manifest.delta.precursor_sha256, NULL, EVP_sha256(), NULL);
    CHECK_EQ(ota_offer(&fake, true), YGG_OTA_PRECURSOR);
    CHECK(ota_untouched(&fake));
    ota_free(&fake);
}

/* More chunks than requested, endlessly. */
static void endless_data(void)
{
    yggdrasil_device_v1_OtaResult result;

    ota_init(&fake);
    CHECK_EQ(ota_offer(&fake, false), YGG_OTA_OK);
    for (uint32_t i = 0; i < 100 && fake.ota.phase == YGG_OTA_LOADING; i++) {
        ota_send_chunk(&fake, fake.image, 5500, 21, 0);
    }
    load_until_result(&result);
    CHECK_EQ(result.code, yggdrasil_device_v1_OtaCode_OTA_CODE_LENGTH);
    CHECK_EQ(fake.ota.install.written, 0);
    ota_free(&fake);
}

/* Oversized metadata is refused by its announced length, before its bytes arrive. */
static void endless_metadata(void)
{
    static const struct {
        yggdrasil_device_v1_OtaRole role;
        uint32_t size;
    } cases[] = {{yggdrasil_device_v1_OtaRole_OTA_ROLE_TIMESTAMP, 1537},
                 {yggdrasil_device_v1_OtaRole_OTA_ROLE_TIMESTAMP, UINT32_MAX},
                 {yggdrasil_device_v1_OtaRole_OTA_ROLE_TIMESTAMP, 0},
                 {yggdrasil_device_v1_OtaRole_OTA_ROLE_RELEASE, 100},
                 {yggdrasil_device_v1_OtaRole_OTA_ROLE_ROOT, 100}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const yggdrasil_device_v1_OtaOffer offer = {.update_id = 6};
        yggdrasil_device_v1_OtaMetadata slice = {
            .update_id = 6, .role = cases[i].role, .size_bytes = cases[i].size, .data = {.size = 10}};
        yggdrasil_device_v1_OtaReject rejected = yggdrasil_device_v1_OtaReject_init_zero;

        ota_init(&fake);
        fake_send(&fake.device, YGG_BODY_OTA_OFFER, yggdrasil_device_v1_OtaOffer_fields, &offer);
        fake_send(&fake.device, YGG_BODY_OTA_METADATA, yggdrasil_device_v1_OtaMetadata_fields, &slice);
        fake_step(&fake.device);
        CHECK(ota_take(&fake, YGG_BODY_OTA_REJECT, yggdrasil_device_v1_OtaReject_fields, &rejected));
        CHECK_EQ(rejected.code, yggdrasil_device_v1_OtaCode_OTA_CODE_MALFORMED);
        CHECK(ota_untouched(&fake));
        ota_free(&fake);
    }
}

static void truncated_data(void)
{
    yggdrasil_device_v1_OtaResult result;

    ota_init(&fake);
    CHECK_EQ(ota_offer(&fake, false), YGG_OTA_OK);
    ota_load_some(&fake, fake.image, 5500, 21);
    ota_send_chunk(&fake, fake.image, 5499, 21, 0);
    load_until_result(&result);
    CHECK_EQ(result.code, yggdrasil_device_v1_OtaCode_OTA_CODE_LENGTH);
    CHECK_EQ(fake.boot.state, YGG_BOOT_CONFIRMED);
    ota_free(&fake);
}

static void trailing_data(void)
{
    yggdrasil_device_v1_OtaResult result;

    ota_init(&fake);
    CHECK_EQ(ota_offer(&fake, false), YGG_OTA_OK);
    ota_load_some(&fake, fake.image, 5500, 21);
    ota_send_chunk(&fake, fake.image, 5501, 21, 0);
    load_until_result(&result);
    CHECK_EQ(result.code, yggdrasil_device_v1_OtaCode_OTA_CODE_LENGTH);
    CHECK_EQ(fake.boot.state, YGG_BOOT_CONFIRMED);
    ota_free(&fake);
}

/* A chunk from elsewhere in the image, or with foreign bytes, is never written. */
static void tampering_in_transit(void)
{
    yggdrasil_device_v1_OtaResult result;

    ota_init(&fake);
    CHECK_EQ(ota_offer(&fake, false), YGG_OTA_OK);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(fake.ota.phase, YGG_OTA_LOADING);
        ota_send_chunk(&fake, fake.image, 5500, 0, 1);
    }
    load_until_result(&result);
    CHECK_EQ(result.code, yggdrasil_device_v1_OtaCode_OTA_CODE_CHUNK);
    CHECK_EQ(fake.ota.install.written, 0);
    ota_free(&fake);
}

/* An attacker changes the flash between the chunk's check and the hash. */
static void tampering_between_check_and_use(void)
{
    yggdrasil_device_v1_OtaResult result;

    ota_init(&fake);
    CHECK_EQ(ota_offer(&fake, false), YGG_OTA_OK);
    ota_load_some(&fake, fake.image, 5500, 20);
    fake.ram.bytes[fake.layout.slots[YGG_SLOT_B] + 700] ^= 4;
    ota_load_some(&fake, fake.image, 5500, 2);
    load_until_result(&result);
    CHECK_EQ(result.code, yggdrasil_device_v1_OtaCode_OTA_CODE_DIGEST);
    CHECK_EQ(fake.boot.state, YGG_BOOT_CONFIRMED);
    (void)ota_take(&fake, 0, NULL, NULL);
    CHECK_EQ(ota_offer(&fake, false), YGG_OTA_OK);
    CHECK_EQ(fake.ota.at, 0); /* Nothing of it is trusted any more. */
    ota_free(&fake);
}

/* After the hash and before the boot: the bootloader verifies again. */
static void tampering_between_staging_and_boot(void)
{
    ota_init(&fake);
    CHECK_EQ(ota_offer(&fake, false), YGG_OTA_OK);
    CHECK_EQ(ota_load(&fake, fake.image, 5500).outcome, yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_PENDING);
    fake.ram.bytes[fake.layout.slots[YGG_SLOT_B] + 700] ^= 4;
    ota_boot(&fake);
    CHECK_EQ(fake.boot.running, YGG_SLOT_A);
    CHECK_EQ(fake.status.outcome, yggdrasil_device_v1_OtaOutcome_OTA_OUTCOME_REVERTED);
    CHECK_EQ(fake.status.code, yggdrasil_device_v1_OtaCode_OTA_CODE_DIGEST);
    ota_free(&fake);
}

/* Nothing for a minute, or too little to ever finish. */
static void slow_retrieval(void)
{
    yggdrasil_device_v1_OtaResult result;

    ota_init(&fake);
    fake.device.config.handshake_timeout_ms = 1000;
    CHECK_EQ(ota_offer(&fake, false), YGG_OTA_OK);
    for (int s = 0; s < 59; s++) {
        fake.device.now_ms += 1000;
        const yggdrasil_device_v1_Ping ping = {.token = 1};
        fake_send(&fake.device, YGG_BODY_PING, yggdrasil_device_v1_Ping_fields, &ping);
        fake_step(&fake.device);
        fake_drain(&fake.device);
    }
    CHECK_EQ(fake.ota.phase, YGG_OTA_LOADING);
    fake.device.now_ms += 1000;
    const yggdrasil_device_v1_Ping ping = {.token = 1};
    fake_send(&fake.device, YGG_BODY_PING, yggdrasil_device_v1_Ping_fields, &ping);
    fake_step(&fake.device);
    load_until_result(&result);
    CHECK_EQ(result.code, yggdrasil_device_v1_OtaCode_OTA_CODE_TIMEOUT);
    ota_free(&fake);
}

static void a_trickle_is_slow_retrieval_too(void)
{
    ota_init(&fake);
    CHECK_EQ(ota_offer(&fake, false), YGG_OTA_OK);
    for (uint32_t s = 1; s <= 301; s++) {
        fake.device.now_ms += 1000;
        const yggdrasil_device_v1_Ping ping = {.token = 1};
        fake_send(&fake.device, YGG_BODY_PING, yggdrasil_device_v1_Ping_fields, &ping);
        if (s % 50 == 0 && fake.ota.phase == YGG_OTA_LOADING) {
            ota_load_some(&fake, fake.image, 5500, 1);
        }
        fake_step(&fake.device);
        fake_drain(&fake.device);
    }
    CHECK_EQ(fake.ota.phase, YGG_OTA_IDLE);
    CHECK_EQ(fake.ota.failed, YGG_OTA_TIMEOUT);
    ota_free(&fake);
}

/* A bridge with a stolen service key relays but cannot authorise: everything it sends is refused or ends its
 * session. */
static void a_compromised_bridge(void)
{
    static struct ota_envelope timestamp, release;
    yggdrasil_device_v1_OtaOffer offer = {.update_id = 6};

    ota_init(&fake);
    memcpy(fake.timestamp.nonce, fake.status.nonce, sizeof fake.timestamp.nonce);
    ota_sign(&fake, "ygg-ota-timestamp-1", yggdrasil_device_v1_Timestamp_fields, &fake.timestamp, 1U << 5U, &timestamp);
    ota_sign(&fake, "ygg-ota-release-1", yggdrasil_device_v1_ReleaseManifest_fields, &fake.manifest, 1U << 5U,
             &release);
    CHECK_EQ(ota_offer_these(&fake, &offer, NULL, &timestamp, &release), YGG_OTA_SIGNATURE);
    ota_send_chunk(&fake, fake.image, 5500, 0, 0); /* Not requested. */
    ota_send_envelope(&fake, 6, yggdrasil_device_v1_OtaRole_OTA_ROLE_RELEASE, &release);
    fake_step(&fake.device);
    CHECK(ota_untouched(&fake));
    CHECK_EQ(fake.device.agent.state, YGG_STATE_ACTIVE);
    ota_free(&fake);
}

/* Without the feature each of these frames violates the protocol. */
static void frames_without_the_feature(void)
{
    const yggdrasil_device_v1_OtaOffer offer = {.update_id = 6};

    ota_init(&fake);
    fake.device.agent.ota = false;
    fake_send(&fake.device, YGG_BODY_OTA_OFFER, yggdrasil_device_v1_OtaOffer_fields, &offer);
    fake_step(&fake.device);
    CHECK(fake.device.agent.state != YGG_STATE_ACTIVE);
    CHECK(ota_untouched(&fake));
    ota_free(&fake);
}

/* An update while another is pending or on trial. */
static void an_offer_while_one_is_pending(void)
{
    ota_init(&fake);
    CHECK_EQ(ota_offer(&fake, false), YGG_OTA_OK);
    ota_load_some(&fake, fake.image, 5500, 21);
    fake.device.write_room = 0; /* The result cannot be sent: the restart waits. */
    ota_send_chunk(&fake, fake.image, 5500, 21, 0);
    CHECK_EQ(fake.ota.phase, YGG_OTA_INSTALLED);
    CHECK_EQ(fake.boot.state, YGG_BOOT_PENDING);
    const yggdrasil_device_v1_OtaOffer offer = {.update_id = 9};
    yggdrasil_device_v1_OtaReject rejected = yggdrasil_device_v1_OtaReject_init_zero;
    fake_send(&fake.device, YGG_BODY_OTA_OFFER, yggdrasil_device_v1_OtaOffer_fields, &offer);
    fake_step(&fake.device);
    fake.device.write_room = SIZE_MAX;
    fake_step(&fake.device);
    bool sent = ota_take(&fake, YGG_BODY_OTA_REJECT, yggdrasil_device_v1_OtaReject_fields, &rejected);
    CHECK(!sent || rejected.code == yggdrasil_device_v1_OtaCode_OTA_CODE_BUSY);
    CHECK_EQ(fake.boot.state, YGG_BOOT_PENDING);
    ota_boot(&fake);
    CHECK_EQ(fake.boot.active, YGG_SLOT_B);
    ota_free(&fake);
}

void suite_ota_attacks(void)
{
    RUN(arbitrary_software);
    RUN(a_single_stolen_key_below_the_threshold);
    RUN(a_stolen_key_that_signs_twice);
    RUN(a_signature_of_another_role);
    RUN(rollback);
    RUN(downgrade_of_the_counter);
    RUN(fast_forward);
    RUN(recovery_from_a_fast_forwarded_timestamp);
    RUN(indefinite_freeze);
    RUN(a_replayed_timestamp);
    RUN(a_replayed_manifest);
    RUN(a_timestamp_for_another_device);
    RUN(a_timestamp_by_another_key);
    RUN(mix_and_match);
    RUN(the_wrong_device_class);
    RUN(the_wrong_slot_size);
    RUN(an_expired_root);
    RUN(an_expired_release);
    RUN(an_untrusted_root);
    RUN(a_root_without_its_own_threshold);
    RUN(the_wrong_precursor);
    RUN(a_patch_other_than_the_signed_one);
    RUN(endless_data);
    RUN(endless_metadata);
    RUN(truncated_data);
    RUN(trailing_data);
    RUN(tampering_in_transit);
    RUN(tampering_between_check_and_use);
    RUN(tampering_between_staging_and_boot);
    RUN(slow_retrieval);
    RUN(a_trickle_is_slow_retrieval_too);
    RUN(a_compromised_bridge);
    RUN(frames_without_the_feature);
    RUN(an_offer_while_one_is_pending);
}
