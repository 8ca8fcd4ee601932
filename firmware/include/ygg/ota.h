/* Updates over the link: feature `ota`, version 1.
 *
 * Owns one attempt at a time: the offer, its metadata, the chunks, the verdict; and whether an image on trial is confirmed. Does
 * not own what is believed (ygg/trust.h), how bytes get into a slot (ygg/install.h) or which slot boots (ygg/boot.h).
 *
 *        IDLE --- OtaOffer ---> METADATA --- all is good ---> LOADING --- whole, hashed, staged ---> INSTALLED
 *         ^                        | OtaReject                   | OtaResult FAILED                     | OtaResult PENDING
 *         |<-----------------------'<----------------------------'                                      v
 *         |                          what was written stays: the next offer goes on         the agent stops; restart
 *         |
 *         '--- TRIAL: confirmed once a session has its contract and the self-test has passed; else reverted after trial_ms
 *
 * Nothing is erased before the release has been verified. After ygg_agent_wants_restart the port restarts the device
 * through its bootloader. */
#ifndef YGG_OTA_H
#define YGG_OTA_H

#include "core/patch.h"
#include "ygg/trust.h"

enum ygg_ota_phase { YGG_OTA_IDLE, YGG_OTA_METADATA, YGG_OTA_LOADING, YGG_OTA_INSTALLED };

struct ygg_ota {
    /* Set by the caller before ygg_agent_init. The boot state is open, with `running` set. */
    struct ygg_boot *boot;
    const struct ygg_verify *verify;
    void *verify_ctx;
    const uint8_t *first_root; /* The envelope that the device was made with; used where it keeps no root yet. */
    size_t first_root_size;
    bool (*self_test)(void *ctx); /* Whether the device works. Called once, in the trial's first session. */
    void *self_test_ctx;
    uint32_t trial_ms; /* Time from boot to confirmation; 1 and up. */
    /* Free to read. */
    enum ygg_ota_phase phase;
    bool restart;             /* Restart once the agent has stopped. */
    enum ygg_ota_code failed; /* Why the last attempt of this boot failed; YGG_OTA_OK: it did not. */
    struct ygg_trust trust;
    /* Private. */
    bool usable;        /* The trust store is open. */
    bool status_due;
    bool accept_due;
    bool reject_due;
    bool request_due;
    bool request_again; /* The next request goes back. */
    bool result_due;
    bool progress_due;
    bool has_nonce;
    bool timestamped;   /* The attempt's timestamp is here. */
    bool offers_delta;
    bool uses_delta;
    uint8_t bad_chunks;
    uint8_t stray_chunks;
    uint8_t behind;     /* Chunks that may still come from before the last bad one. */
    uint8_t credit;     /* Chunks that may still come. */
    enum ygg_ota_code rejected;
    uint64_t rejected_id;
    uint64_t update_id;
    uint32_t roots_due;
    uint32_t metadata_size;
    uint32_t metadata_have;
    uint8_t metadata_role;
    struct ygg_timestamp timestamp;
    struct ygg_image image;
    uint8_t chunks_root[YGG_SHA256_BYTES]; /* Of what is being loaded, image or patch. */
    uint32_t chunk_bytes;
    uint32_t total; /* Bytes to load, of image or patch. */
    uint32_t at;    /* Bytes that have come. */
    uint32_t reported_bytes; /* `at` at the last progress. */
    uint64_t reported_ms;
    uint64_t chunk_ms;     /* When the last chunk came. */
    uint64_t window_ms;    /* When the present window of SLOW_MS began. */
    uint32_t window_bytes; /* That came in it. */
    uint8_t nonce[YGG_NONCE_BYTES];
    struct {
        uint8_t precursor[YGG_SHA256_BYTES];
        uint8_t digest[YGG_SHA256_BYTES];
        uint8_t chunks_root[YGG_SHA256_BYTES];
        uint32_t length;
    } delta; /* As offered. */
    struct ygg_install install;
    struct ygg_patch patch;
    uint8_t metadata[YGG_ENVELOPE_BYTES_MAX]; /* One envelope; also where trust records are made. */
};

struct ygg_agent;

/* Back to the other slot's image, as whoever stands before the device wants it: with or without a session, and without a
 * bridge's word. It boots on trial as any other; what runs now stays where it is. YGG_ERR_STATE: an image is pending or on
 * trial, or the other slot holds none that was confirmed once; YGG_ERR_REFUSED: its security counter is below the device's;
 * YGG_ERR_MALFORMED: it is damaged. */
enum ygg_err ygg_ota_roll_back(struct ygg_agent *agent);

#endif
