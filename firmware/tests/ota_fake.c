#include "tests/ota_fake.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <pb_decode.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ports/posix/platform.h"
#include "ports/posix/verify.h"

enum { TRIAL_MS = 30000, LEAVES_MAX = 64, DIGEST = 32 };

yggdrasil_device_v1_OtaAccept ota_accepted;

static const struct ygg_feature features[] = {YGG_FEATURE_OTA};

static void stop(const char *why)
{
    (void)fprintf(stderr, "the test itself is wrong: %s\n", why);
    abort();
}

static void sha256(const void *data, size_t size, uint8_t digest[DIGEST])
{
    if (EVP_Digest(data, size, digest, NULL, EVP_sha256(), NULL) != 1) {
        stop("no SHA-256");
    }
}

/* --- the tree: recursively, as RFC 9162, section 2.1.1 and 2.1.3.1 define it
 * ------------------------------------------ */

struct tree {
    uint8_t leaves[LEAVES_MAX][DIGEST];
    uint32_t count;
};

static struct tree plant(const uint8_t *data, uint32_t size)
{
    struct tree tree = {.count = (size - 1) / OTA_CHUNK_BYTES + 1};
    uint8_t leaf[1 + OTA_CHUNK_BYTES] = {0};

    for (uint32_t i = 0; i < tree.count; i++) {
        uint32_t at = i * OTA_CHUNK_BYTES;
        uint32_t length = size - at < OTA_CHUNK_BYTES ? size - at : OTA_CHUNK_BYTES;

        memcpy(leaf + 1, data + at, length);
        sha256(leaf, 1 + length, tree.leaves[i]);
    }
    return tree;
}

static uint32_t split(uint32_t count)
{
    uint32_t half = 1;

    while (half * 2 < count) {
        half *= 2;
    }
    return half;
}

static void tree_root(const struct tree *tree, uint32_t from, uint32_t count, uint8_t digest[DIGEST])
{
    uint8_t node[1 + 2 * DIGEST] = {1};

    if (count == 1) {
        memcpy(digest, tree->leaves[from], DIGEST);
        return;
    }
    tree_root(tree, from, split(count), node + 1);
    tree_root(tree, from + split(count), count - split(count), node + 1 + DIGEST);
    sha256(node, sizeof node, digest);
}

static size_t tree_path(const struct tree *tree, uint32_t index, uint32_t from, uint32_t count, uint8_t *out)
{
    if (count == 1) {
        return 0;
    }
    uint32_t half = split(count);
    bool left = index < half;
    size_t below = left ? tree_path(tree, index, from, half, out)
                        : tree_path(tree, index - half, from + half, count - half, out);

    tree_root(tree, left ? from + half : from, left ? count - half : half, out + below);
    return below + DIGEST;
}

/* --- keys ------------------------------------------------------------------------------------------------------------ */

static void public_key(const EVP_PKEY *key, uint8_t out[YGG_KEY_BYTES])
{
    uint8_t point[1 + YGG_KEY_BYTES];
    size_t size = 0;

    if (EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point, &size) != 1 ||
        size != sizeof point) {
        stop("no public key");
    }
    memcpy(out, point + 1, YGG_KEY_BYTES);
}

static void sign_one(EVP_PKEY *key, const uint8_t *data, size_t size, yggdrasil_device_v1_Signature *out)
{
    uint8_t der[80];
    const uint8_t *at = der;
    uint8_t digest[DIGEST];
    uint8_t raw[YGG_KEY_BYTES];
    size_t length = sizeof der;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    if (EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) != 1 ||
        EVP_DigestSign(ctx, der, &length, data, size) != 1) {
        stop("cannot sign");
    }
    ECDSA_SIG *numbers = d2i_ECDSA_SIG(NULL, &at, (long)length);
    if (numbers == NULL || BN_bn2binpad(ECDSA_SIG_get0_r(numbers), out->signature, 32) != 32 ||
        BN_bn2binpad(ECDSA_SIG_get0_s(numbers), out->signature + 32, 32) != 32) {
        stop("no signature");
    }
    ECDSA_SIG_free(numbers);
    EVP_MD_CTX_free(ctx);
    public_key(key, raw);
    sha256(raw, sizeof raw, digest);
    memcpy(out->key_id, digest, sizeof out->key_id);
}

static size_t encode(const pb_msgdesc_t *fields, const void *message, uint8_t *out, size_t size)
{
    pb_ostream_t stream = pb_ostream_from_buffer(out, size);

    if (!pb_encode(&stream, fields, message)) {
        stop("a message cannot be encoded");
    }
    return stream.bytes_written;
}

void ota_sign(struct ota_fake *fake, const char *context, const pb_msgdesc_t *fields, const void *message,
              uint64_t signers, struct ota_envelope *out)
{
    static yggdrasil_device_v1_Envelope envelope;
    uint8_t data[2048];
    size_t head = strlen(context) + 1;

    memset(&envelope, 0, sizeof envelope);
    memcpy(data, context, head);
    envelope.payload.size = (pb_size_t)encode(fields, message, envelope.payload.bytes, sizeof envelope.payload.bytes);
    memcpy(data + head, envelope.payload.bytes, envelope.payload.size);
    for (unsigned i = 0; i < OTA_KEYS; i++) {
        if ((signers >> i & 1U) != 0) {
            sign_one(fake->keys[i], data, head + envelope.payload.size,
                     &envelope.signatures[envelope.signatures_count++]);
        }
    }
    out->size = encode(yggdrasil_device_v1_Envelope_fields, &envelope, out->bytes, sizeof out->bytes);
}

/* --- the device ------------------------------------------------------------------------------------------------------ */

static void make_root(struct ota_fake *fake)
{
    yggdrasil_device_v1_Root *root = &fake->root;

    *root = (yggdrasil_device_v1_Root){.version = 1,
                                       .expires_unix_s = 2000000000,
                                       .keys_count = 5,
                                       .has_root = true,
                                       .has_release = true,
                                       .has_timestamp = true,
                                       .root = {.threshold = 2, .keys_count = 3, .keys = {0, 1, 2}},
                                       .release = {.threshold = 2, .keys_count = 3, .keys = {1, 2, 3}},
                                       .timestamp = {.threshold = 1, .keys_count = 1, .keys = {4}}};
    for (unsigned i = 0; i < 5; i++) {
        public_key(fake->keys[i], root->keys[i]);
    }
    ota_sign(fake, "ygg-ota-root-1", yggdrasil_device_v1_Root_fields, root, 3, &fake->first_root);
}

static void make_flash(struct ota_fake *fake)
{
    const uint32_t journal = ygg_journal_bytes(OTA_SLOT_BYTES, OTA_BLOCK_BYTES);
    const uint32_t before = 4 * OTA_BLOCK_BYTES + journal;

    ram_flash_init(&fake->ram, OTA_BLOCK_BYTES, (before + 2 * OTA_SLOT_BYTES) / OTA_BLOCK_BYTES, 3);
    fake->layout = (struct ygg_layout){.flash = &fake->ram.flash,
                                       .records = 0,
                                       .trust = 2 * OTA_BLOCK_BYTES,
                                       .journal = 4 * OTA_BLOCK_BYTES,
                                       .journal_bytes = journal,
                                       .slots = {before, before + OTA_SLOT_BYTES},
                                       .slot_bytes = OTA_SLOT_BYTES};
}

/* The update is the factory image with some bytes changed and some inserted in the middle. */
static void make_images(struct ota_fake *fake)
{
    fake->factory_size = 5000;
    for (uint32_t i = 0; i < fake->factory_size; i++) {
        fake->factory[i] = (uint8_t)(i % 7 == 0 ? ram_flash_random(&fake->ram) : i / 16);
    }
    memcpy(fake->image, fake->factory, 2000);
    for (uint32_t i = 2000; i < 2500; i++) {
        fake->image[i] = (uint8_t)ram_flash_random(&fake->ram);
    }
    memcpy(fake->image + 2500, fake->factory + 2000, 3000);
    for (uint32_t i = 100; i < 5500; i += 611) {
        fake->image[i] ^= 0x5A;
    }
    fake->manifest.image_size_bytes = 5500;
}

static bool self_test(void *ctx)
{
    return ((const struct ota_fake *)ctx)->healthy;
}

static void open_boot(struct ota_fake *fake, enum ygg_slot running)
{
    fake->boot = (struct ygg_boot){.layout = &fake->layout,
                                   .hash = &posix_hash,
                                   .hash_ctx = fake->device.hash,
                                   .counter_floor_min = 1,
                                   .boots_max = 3,
                                   .running = running};
    if (ygg_boot_open(&fake->boot) != YGG_OK) {
        stop("the boot state cannot be read");
    }
}

static void make_device(struct ota_fake *fake)
{
    struct ygg_image image = {.length = fake->factory_size, .counter = 3, .sequence = 7};

    sha256(fake->factory, fake->factory_size, image.digest);
    memcpy(fake->ram.bytes + fake->layout.slots[YGG_SLOT_A], fake->factory, fake->factory_size);
    open_boot(fake, YGG_SLOT_NONE);
    if (ygg_boot_provision(&fake->boot, YGG_SLOT_A, &image) != YGG_OK) {
        stop("the device cannot be made");
    }
}

void ota_seal(struct ota_fake *fake)
{
    struct tree tree = plant(fake->image, fake->manifest.image_size_bytes);

    sha256(fake->image, fake->manifest.image_size_bytes, fake->manifest.image_sha256);
    tree_root(&tree, 0, tree.count, fake->manifest.chunks_root);
}

void ota_init(struct ota_fake *fake)
{
    memset(fake, 0, sizeof *fake);
    fake_init(&fake->device);
    for (unsigned i = 0; i < OTA_KEYS; i++) {
        fake->keys[i] = EVP_EC_gen("P-256");
    }
    make_flash(fake);
    make_images(fake);
    make_root(fake);
    make_device(fake);
    fake->healthy = true;
    fake->release_signers = 1U << 1U | 1U << 3U;
    fake->timestamp_signers = 1U << 4U;
    fake->manifest = (yggdrasil_device_v1_ReleaseManifest){.device_class = "sim",
                                                           .version = "2.0.0",
                                                           .sequence = 8,
                                                           .security_counter = 4,
                                                           .slot_size_bytes = OTA_SLOT_BYTES,
                                                           .image_size_bytes = 5500,
                                                           .chunk_size_bytes = OTA_CHUNK_BYTES,
                                                           .expires_unix_s = 1900000000};
    ota_seal(fake);
    fake->timestamp = (yggdrasil_device_v1_Timestamp){
        .time_unix_s = 1800000000, .newest_sequence = 8, .device_id = "porch-1"};
    ota_boot(fake);
}

void ota_free(struct ota_fake *fake)
{
    for (unsigned i = 0; i < OTA_KEYS; i++) {
        EVP_PKEY_free(fake->keys[i]);
    }
    fake_free(&fake->device);
}

/* As fake_negotiate, but the device may disconnect as soon as it has its contract. */
static void negotiate(struct ota_fake *fake)
{
    yggdrasil_device_v1_Welcome welcome = fake_welcome(false);
    const yggdrasil_device_v1_ContractNotice contract = {.revision = 1};

    welcome.features_count = 1;
    memcpy(welcome.features[0].name, "ota", sizeof "ota");
    welcome.features[0].version = 1;
    fake_step(&fake->device);
    fake_send(&fake->device, YGG_BODY_WELCOME, yggdrasil_device_v1_Welcome_fields, &welcome);
    fake_step(&fake->device);
    fake_send(&fake->device, YGG_BODY_CONTRACT, yggdrasil_device_v1_ContractNotice_fields, &contract);
    fake_step(&fake->device);
}

void ota_boot(struct ota_fake *fake)
{
    static uint64_t boots;

    open_boot(fake, YGG_SLOT_NONE);
    open_boot(fake, ygg_boot_choose(&fake->boot, false));
    fake_free(&fake->device);
    fake_init(&fake->device);
    fake->boot.hash_ctx = fake->device.hash;
    fake->device.random += ++boots; /* New nonces. */
    fake->ota = (struct ygg_ota){.boot = &fake->boot,
                                 .verify = &posix_verify,
                                 .first_root = fake->first_root.bytes,
                                 .first_root_size = fake->first_root.size,
                                 .self_test = self_test,
                                 .self_test_ctx = fake,
                                 .trial_ms = TRIAL_MS};
    fake->device.config.ota = &fake->ota;
    fake->device.config.features = features;
    fake->device.config.features_count = 1;
    if (fake_start(&fake->device) != YGG_OK) {
        stop("the agent does not start");
    }
    negotiate(fake);
    (void)ota_take(fake, 0, NULL, NULL);
}

bool ota_take(struct ota_fake *fake, uint32_t number, const pb_msgdesc_t *fields, void *message)
{
    struct ygg_envelope envelope;

    while (fake_take(&fake->device, &envelope)) {
        pb_istream_t in = pb_istream_from_buffer(envelope.body, envelope.length);

        if (envelope.number == YGG_BODY_OTA_STATUS &&
            !pb_decode(&in, yggdrasil_device_v1_OtaStatus_fields, &fake->status)) {
            stop("a status cannot be read");
        }
        if (envelope.number == YGG_BODY_OTA_ACCEPT &&
            !pb_decode(&in, yggdrasil_device_v1_OtaAccept_fields, &ota_accepted)) {
            stop("an acceptance cannot be read");
        }
        if (envelope.number == number) {
            in = pb_istream_from_buffer(envelope.body, envelope.length);
            return fields == NULL || pb_decode(&in, fields, message);
        }
    }
    return false;
}

/* --- offers ---------------------------------------------------------------------------------------------------------- */

void ota_send_envelope(struct ota_fake *fake, uint64_t update_id, yggdrasil_device_v1_OtaRole role,
                       const struct ota_envelope *envelope)
{
    for (size_t at = 0; at < envelope->size; at += 512) {
        yggdrasil_device_v1_OtaMetadata slice = {
            .update_id = update_id, .role = role, .size_bytes = (uint32_t)envelope->size, .offset_bytes = (uint32_t)at};

        slice.data.size = (pb_size_t)(envelope->size - at < 512 ? envelope->size - at : 512);
        memcpy(slice.data.bytes, envelope->bytes + at, slice.data.size);
        fake_send(&fake->device, YGG_BODY_OTA_METADATA, yggdrasil_device_v1_OtaMetadata_fields, &slice);
    }
}

enum ygg_ota_code ota_offer_these(struct ota_fake *fake, const yggdrasil_device_v1_OtaOffer *offer,
                                  const struct ota_envelope *roots, const struct ota_envelope *timestamp,
                                  const struct ota_envelope *release)
{
    yggdrasil_device_v1_OtaReject rejected = yggdrasil_device_v1_OtaReject_init_zero;
    size_t from = fake->device.out_taken;

    fake_send(&fake->device, YGG_BODY_OTA_OFFER, yggdrasil_device_v1_OtaOffer_fields, offer);
    for (uint32_t i = 0; i < offer->roots; i++) {
        ota_send_envelope(fake, offer->update_id, yggdrasil_device_v1_OtaRole_OTA_ROLE_ROOT, &roots[i]);
    }
    ota_send_envelope(fake, offer->update_id, yggdrasil_device_v1_OtaRole_OTA_ROLE_TIMESTAMP, timestamp);
    ota_send_envelope(fake, offer->update_id, yggdrasil_device_v1_OtaRole_OTA_ROLE_RELEASE, release);
    fake_step(&fake->device);
    bool refused = ota_take(fake, YGG_BODY_OTA_REJECT, yggdrasil_device_v1_OtaReject_fields, &rejected);
    if (!refused) {
        fake->device.out_taken = from; /* The rest is for ota_load. */
        return YGG_OTA_OK;
    }
    (void)ota_take(fake, 0, NULL, NULL);
    return (enum ygg_ota_code)rejected.code;
}

static void fill_delta(struct ota_fake *fake, yggdrasil_device_v1_Delta *delta)
{
    struct tree tree = plant(fake->patch, fake->patch_size);

    sha256(fake->factory, fake->factory_size, delta->precursor_sha256);
    sha256(fake->patch, fake->patch_size, delta->patch_sha256);
    tree_root(&tree, 0, tree.count, delta->patch_chunks_root);
    delta->patch_size_bytes = fake->patch_size;
}

enum ygg_ota_code ota_offer(struct ota_fake *fake, bool delta)
{
    static struct ota_envelope release;
    static struct ota_envelope timestamp;
    static uint64_t next_id;
    yggdrasil_device_v1_OtaOffer offer = {.update_id = ++next_id, .has_delta = delta};
    uint8_t signed_bytes[1024];

    if (delta) {
        fill_delta(fake, &offer.delta);
    }
    ota_sign(fake, "ygg-ota-release-1", yggdrasil_device_v1_ReleaseManifest_fields, &fake->manifest,
             fake->release_signers, &release);
    size_t size = encode(yggdrasil_device_v1_ReleaseManifest_fields, &fake->manifest, signed_bytes,
                         sizeof signed_bytes);
    fake->timestamp.release_sha256.size = DIGEST;
    sha256(signed_bytes, size, fake->timestamp.release_sha256.bytes);
    memcpy(fake->timestamp.nonce, fake->status.nonce, sizeof fake->timestamp.nonce);
    ota_sign(fake, "ygg-ota-timestamp-1", yggdrasil_device_v1_Timestamp_fields, &fake->timestamp,
             fake->timestamp_signers, &timestamp);
    return ota_offer_these(fake, &offer, NULL, &timestamp, &release);
}

void ota_send_chunk(struct ota_fake *fake, const uint8_t *data, uint32_t size, uint32_t index, uint8_t spoil)
{
    static yggdrasil_device_v1_OtaChunk chunk;
    const struct tree tree = plant(data, size);
    uint32_t at = index * OTA_CHUNK_BYTES;
    uint32_t length = size - at < OTA_CHUNK_BYTES ? size - at : OTA_CHUNK_BYTES;

    memset(&chunk, 0, sizeof chunk);
    chunk.update_id = fake->ota.update_id;
    chunk.offset_bytes = at;
    chunk.data.size = (pb_size_t)length;
    memcpy(chunk.data.bytes, data + at, length);
    chunk.data.bytes[length / 2] ^= spoil;
    chunk.proof.size = (pb_size_t)tree_path(&tree, index, 0, tree.count, chunk.proof.bytes);
    fake_send(&fake->device, YGG_BODY_OTA_CHUNK, yggdrasil_device_v1_OtaChunk_fields, &chunk);
    fake_step(&fake->device);
}

void ota_load_some(struct ota_fake *fake, const uint8_t *data, uint32_t size, uint32_t count)
{
    for (uint32_t i = 0; i < count && fake->ota.phase == YGG_OTA_LOADING; i++) {
        if (fake->ota.credit == 0) {
            stop("the device does not ask");
        }
        ota_send_chunk(fake, data, size, fake->ota.at / OTA_CHUNK_BYTES, 0);
    }
}

yggdrasil_device_v1_OtaResult ota_load(struct ota_fake *fake, const uint8_t *data, uint32_t size)
{
    yggdrasil_device_v1_OtaResult result = yggdrasil_device_v1_OtaResult_init_zero;

    ota_load_some(fake, data, size, LEAVES_MAX);
    fake_step(&fake->device);
    if (!ota_take(fake, YGG_BODY_OTA_RESULT, yggdrasil_device_v1_OtaResult_fields, &result)) {
        return (yggdrasil_device_v1_OtaResult)yggdrasil_device_v1_OtaResult_init_zero;
    }
    (void)ota_take(fake, 0, NULL, NULL);
    return result;
}

bool ota_untouched(const struct ota_fake *fake)
{
    const uint8_t *spare = fake->ram.bytes + fake->layout.slots[YGG_SLOT_B];

    for (uint32_t i = 0; i < OTA_SLOT_BYTES; i++) {
        if (spare[i] != YGG_FLASH_ERASED) {
            return false;
        }
    }
    return fake->boot.update_id == 0 && fake->boot.state == YGG_BOOT_CONFIRMED && fake->ota.phase == YGG_OTA_IDLE;
}
