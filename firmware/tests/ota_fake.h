/* A device that accepts updates, and all senders of updates: the key holders, the service, an attacker.
 *
 * Flash is tests/ram_flash; keys, signatures, trees and patches are real. The device is driven by frames only. */
#ifndef YGG_TESTS_OTA_FAKE_H
#define YGG_TESTS_OTA_FAKE_H

#include "tests/fake.h"
#include "tests/ram_flash.h"
#include "ygg/ota.h"

enum { OTA_BLOCK_BYTES = 1024, OTA_SLOT_BYTES = 8192, OTA_CHUNK_BYTES = 256, OTA_ENVELOPE_BYTES = 2048, OTA_KEYS = 6 };

/* Keys of the first root: 0, 1, 2 root (threshold 2); 1, 2, 3 release (threshold 2); 4 timestamp; 5 in no role. */

struct ota_envelope {
    uint8_t bytes[OTA_ENVELOPE_BYTES];
    size_t size;
};

struct ota_fake {
    struct fake device;
    struct ram_flash ram;
    struct ygg_layout layout;
    struct ygg_boot boot;
    struct ygg_ota ota;
    bool healthy; /* Result of the self-test. */
    EVP_PKEY *keys[OTA_KEYS];
    struct ota_envelope first_root;
    uint8_t factory[OTA_SLOT_BYTES]; /* Factory image in slot A, factory_size bytes. */
    uint32_t factory_size;
    uint8_t image[OTA_SLOT_BYTES]; /* The update. */
    uint8_t patch[OTA_SLOT_BYTES]; /* Patch from the factory image to the update; 0 bytes: none. */
    uint32_t patch_size;
    yggdrasil_device_v1_Root root;
    yggdrasil_device_v1_ReleaseManifest manifest;
    yggdrasil_device_v1_Timestamp timestamp;
    uint64_t release_signers; /* Keys that sign the manifest, a bit each. */
    uint64_t timestamp_signers;
    yggdrasil_device_v1_OtaStatus status; /* The latest one. */
};

/* Initialises a provisioned device in session, with a valid offer in `manifest` and `timestamp`: change them before
 * ota_offer. */
void ota_init(struct ota_fake *fake);
void ota_free(struct ota_fake *fake);

/* Restarts the device through the bootloader and negotiates; the status is in `status`. */
void ota_boot(struct ota_fake *fake);

/* Serialises and signs; `signers` has one bit per key. */
void ota_sign(struct ota_fake *fake, const char *context, const pb_msgdesc_t *fields, const void *message,
              uint64_t signers, struct ota_envelope *out);

/* Recomputes digest, length and tree of `manifest` after `image` has changed. */
void ota_seal(struct ota_fake *fake);

/* Sends the offer: OtaOffer, the timestamp for the current nonce, the release. Returns the code of OtaReject, or
 * OTA_OK. */
enum ygg_ota_code ota_offer(struct ota_fake *fake, bool delta);

/* The same with the given envelopes, unchanged. */
enum ygg_ota_code ota_offer_these(struct ota_fake *fake, const yggdrasil_device_v1_OtaOffer *offer,
                                  const struct ota_envelope *roots, const struct ota_envelope *timestamp,
                                  const struct ota_envelope *release);

/* Sends an envelope in slices. */
void ota_send_envelope(struct ota_fake *fake, uint64_t update_id, yggdrasil_device_v1_OtaRole role,
                       const struct ota_envelope *envelope);

/* Sends chunk `index` of an image or patch with its proof; `spoil` is XORed to one of its bytes. */
void ota_send_chunk(struct ota_fake *fake, const uint8_t *data, uint32_t size, uint32_t index, uint8_t spoil);

/* Sends all chunks that the device requests. Returns the OtaResult; all zero if none arrived. */
yggdrasil_device_v1_OtaResult ota_load(struct ota_fake *fake, const uint8_t *data, uint32_t size);

/* Sends up to `count` chunks, then stops. */
void ota_load_some(struct ota_fake *fake, const uint8_t *data, uint32_t size, uint32_t count);

/* Whether the spare slot is untouched and no update has begun. */
bool ota_untouched(const struct ota_fake *fake);

/* Takes the next sent frame of a kind and keeps the newest status before it. Returns false at the end. */
bool ota_take(struct ota_fake *fake, uint32_t number, const pb_msgdesc_t *fields, void *message);

extern yggdrasil_device_v1_OtaAccept ota_accepted; /* The latest one. */

#endif
