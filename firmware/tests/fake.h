/* A device with fake clock, randomness, transport and hardware under the control of the test, and the bridge's side of
 * the link. The agent, its codec, the hash and the simulated board are real. */
#ifndef YGG_TESTS_FAKE_H
#define YGG_TESTS_FAKE_H

#include <openssl/evp.h>

#include "boards/sim/board.h"
#include "wire/body.h"
#include "ygg/agent.h"

enum { FAKE_WIRE_BYTES = 1 << 18, FAKE_FRAME_BYTES = 4096, FAKE_MEMORY_BYTES = 2048 };

struct fake {
    struct ygg_agent agent;
    struct ygg_config config;
    struct ygg_hal hal;
    struct ygg_scratch scratch;
    struct ygg_sim_board board;
    EVP_MD_CTX *hash;
    uint8_t rx[FAKE_FRAME_BYTES + YGG_PREFIX_BYTES];
    uint8_t tx[FAKE_FRAME_BYTES + YGG_PREFIX_BYTES];
    uint8_t events[FAKE_MEMORY_BYTES];
    uint8_t answers[FAKE_MEMORY_BYTES];
    uint8_t samples[YGG_RECORDS_BYTES_MIN];
    uint32_t credit;       /* Welcome.telemetry_credit of fake_negotiate. */
    bool features_refused; /* The bridge accepts no feature. */
    uint32_t frame_bytes;  /* Frame limits in the Welcome of fake_negotiate; 0: the device's. */
    /* Clock and randomness. */
    uint64_t now_ms;
    uint64_t random;
    bool random_fails;
    /* Transport. */
    enum ygg_err connect_result;     /* Result of connect(). */
    char address[YGG_ADDRESS_BYTES]; /* Latest argument of connect(). */
    bool connected;
    unsigned connects;         /* Number of opened connections. */
    size_t in_read, in_end;    /* Bytes of the bridge: read by the device, and total. */
    size_t read_max;           /* Maximum bytes per read; 0: unlimited. */
    enum ygg_err at_end;       /* Result of a read at the end of the bytes. */
    size_t out_taken, out_end; /* Bytes of the device: taken by the test, and total. */
    size_t write_max;          /* Maximum bytes per write; 0: unlimited. */
    size_t write_room;         /* Bytes accepted until the test adds more. */
    /* Driver: the simulated board unless `driver_result` is set. */
    enum ygg_err driver_result; /* YGG_OK: call the board. */
    struct ygg_call last_call;
    struct ygg_call last_write;
    uint8_t last_text[YGG_VALUE_BYTES_MAX]; /* Copy of the text of last_write, which is no longer valid. */
    struct ygg_answer canned;               /* Replaces the board's answer if status is not 0. */
    /* Log. */
    char last_event[32];
    /* The wire; last member, see fake_reset. */
    uint8_t in[FAKE_WIRE_BYTES];
    uint8_t out[FAKE_WIRE_BYTES];
};

/* Initialises a device that has not connected yet, with the default profile; the test may change `config` before
 * fake_start. */
void fake_init(struct fake *fake);
/* The same without clearing the bytes of the wire, which are written before they are read: for fuzzing. */
void fake_reset(struct fake *fake);
enum ygg_err fake_start(struct fake *fake);
void fake_free(struct fake *fake);

/* Queues bytes, or a frame, for the device. */
void fake_feed(struct fake *fake, const void *bytes, size_t size);
void fake_send_raw(struct fake *fake, uint32_t number, const void *body, size_t size);
void fake_send(struct fake *fake, uint32_t number, const pb_msgdesc_t *fields, const void *message);

/* Takes the next frame that the device sent. Returns false at the end. */
bool fake_take(struct fake *fake, struct ygg_envelope *envelope);

/* Takes the next frame, which must have that number, decoded by nanopb. */
bool fake_take_message(struct fake *fake, uint32_t number, const pb_msgdesc_t *fields, void *message);

/* The same for the next frame of that number; skips others. */
bool fake_find_message(struct fake *fake, uint32_t number, const pb_msgdesc_t *fields, void *message);

/* Discards the frames that the device sent. */
void fake_drain(struct fake *fake);

/* Steps the agent; the second also advances the clock to `until_ms`, stepping at each wake time. */
void fake_step(struct fake *fake);
void fake_run_until(struct fake *fake, uint64_t until_ms);

/* Returns a Welcome that this device accepts, requesting pages or not. */
yggdrasil_device_v1_Welcome fake_welcome(bool pages);

/* Negotiates to ACTIVE, which must succeed; the bridge has stored events up to `stored_sequence`. */
void fake_negotiate(struct fake *fake, uint64_t stored_sequence);

/* The same with nothing stored, and drains. The heartbeat is 1000 ms. */
void fake_activate(struct fake *fake);

/* Sends an Invoke of an action or property with integer arguments. */
void fake_invoke(struct fake *fake, const char *call_id, uint32_t capability, enum ygg_operation operation,
                 uint32_t member, size_t count, const int64_t *arguments);

/* Steps and takes the Result; all zero if missing. */
yggdrasil_device_v1_Result fake_result(struct fake *fake);

#endif
