/* Updates over the link: feature `ota`, version 1.
 *
 * Owns one attempt at a time (offer, metadata, chunks, result) and the confirmation of an image on trial. Does not own
 * trust decisions (ygg/trust.h), writing to a slot (ygg/install.h) or the choice of the slot to boot (ygg/boot.h).
 *
 *        IDLE --- OtaOffer ---> METADATA --- verified ------> LOADING --- whole, hashed, staged ---> INSTALLED
 *         ^                        | OtaReject                   | OtaResult FAILED                     | OtaResult PENDING
 *         |<-----------------------'<----------------------------'                                      v
 *         |                          written blocks stay: the next offer resumes          the agent stops; restart
 *         |
 *         '--- TRIAL: confirmed once a session has its contract and the self-test passes; else reverted after trial_ms
 *
 * Nothing is erased before the release has been verified. After ygg_agent_wants_restart the port restarts the device
 * through its bootloader. */
#ifndef YGG_OTA_H
#define YGG_OTA_H

#include "core/patch.h"
#include "ygg/trust.h"

enum ygg_ota_phase { YGG_OTA_IDLE, YGG_OTA_METADATA, YGG_OTA_LOADING, YGG_OTA_INSTALLED };

struct ygg_ota {
    /* Set by the caller before ygg_agent_init. The boot state is open and has `running` set. */
    struct ygg_boot *boot;
    const struct ygg_verify *verify;
    void *verify_ctx;
    const uint8_t *first_root; /* The factory's root envelope; used as long as no root is stored. */
    size_t first_root_size;
    bool (*self_test)(void *ctx); /* Returns whether the device works. Called once, in the trial's first session. */
    void *self_test_ctx;
    uint32_t trial_ms; /* Maximum time from boot to confirmation; 1 and up. */
    /* Free to read. */
    enum ygg_ota_phase phase;
    bool restart;             /* Restart once the agent has stopped. */
    enum ygg_ota_code failed; /* Error of the last attempt since boot; YGG_OTA_OK: none. */
    struct ygg_trust trust;
    /* Private. */
    bool usable; /* The trust store could be opened. */
    bool status_due;
    bool accept_due;
    bool reject_due;
    bool request_due;
    bool request_again; /* The next request repeats chunks. */
    bool result_due;
    bool progress_due;
    bool has_nonce;
    bool timestamped; /* The timestamp of this attempt was accepted. */
    bool offers_delta;
    bool uses_delta;
    uint8_t bad_chunks;
    uint8_t stray_chunks;
    uint8_t behind; /* Chunks in flight that follow the last bad one. */
    uint8_t credit; /* Requested chunks that have not arrived. */
    enum ygg_ota_code rejected;
    uint64_t rejected_id;
    uint64_t update_id;
    uint32_t roots_due;
    uint32_t metadata_size;
    uint32_t metadata_have;
    uint8_t metadata_role;
    struct ygg_timestamp timestamp;
    struct ygg_image image;
    uint8_t chunks_root[YGG_SHA256_BYTES]; /* Root of the tree of the download, image or patch. */
    uint32_t chunk_bytes;
    uint32_t total;          /* Size of the download, image or patch. */
    uint32_t at;             /* Bytes received. */
    uint32_t reported_bytes; /* `at` in the last progress report. */
    uint64_t reported_ms;
    uint64_t chunk_ms;     /* When the last chunk arrived. */
    uint64_t window_ms;    /* Start of the current rate window. */
    uint32_t window_bytes; /* Bytes received in it. */
    uint8_t nonce[YGG_NONCE_BYTES];
    struct {
        uint8_t precursor[YGG_SHA256_BYTES];
        uint8_t digest[YGG_SHA256_BYTES];
        uint8_t chunks_root[YGG_SHA256_BYTES];
        uint32_t length;
    } delta; /* As offered. */
    struct ygg_install install;
    struct ygg_patch patch;
    uint8_t metadata[YGG_ENVELOPE_BYTES_MAX]; /* One envelope; also the buffer for trust records. */
};

struct ygg_agent;

/* Rolls back to the image of the other slot at the request of a local operator, with or without a session. It boots on
 * trial as any other; the running image stays where it is. YGG_ERR_STATE: an image is pending or on trial, or the other
 * slot was never confirmed. YGG_ERR_REFUSED: its security counter is below the device's. YGG_ERR_MALFORMED: it is
 * damaged. YGG_ERR_IO. */
enum ygg_err ygg_ota_roll_back(struct ygg_agent *agent);

#endif
