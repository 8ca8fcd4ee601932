/* What the core needs from a machine: four tables of functions that a port fills in.
 *
 * Every function is called from within ygg_agent_*(), on the caller's thread, and must not block nor call back
 * into the agent (a driver may call ygg_agent_emit, ygg_agent_sample and ygg_agent_changed). docs: firmware/README.md, "Porting". */
#ifndef YGG_HAL_H
#define YGG_HAL_H

#include "ygg/err.h"
#include "ygg/value.h"

/* One connection to the bridge: TLS 1.3, both sides authenticated. */
struct ygg_transport {
    /* Begins to connect to `address` ("HOST:PORT"), or goes on with it. YGG_OK: connected, the handshake is done and
     * the peer is the bridge. YGG_ERR_AGAIN: under way, call again. Anything else: failed; close() follows. */
    enum ygg_err (*connect)(void *ctx, const char *address);
    /* Reads up to `size` bytes. The number read, 1 and up; YGG_ERR_AGAIN, YGG_ERR_CLOSED or YGG_ERR_IO. */
    int32_t (*read)(void *ctx, uint8_t *buffer, size_t size);
    /* Writes up to `size` bytes. The number taken, 1 and up; YGG_ERR_AGAIN, YGG_ERR_CLOSED or YGG_ERR_IO. After
     * YGG_ERR_AGAIN the next write begins with the same bytes and is not shorter. */
    int32_t (*write)(void *ctx, const uint8_t *data, size_t size);
    /* Drops the connection or the attempt. May be called when there is neither. */
    void (*close)(void *ctx);
};

/* SHA-256 of bytes that come in pieces. One at a time. */
struct ygg_hash {
    enum ygg_err (*begin)(void *ctx);
    enum ygg_err (*update)(void *ctx, const uint8_t *data, size_t size);
    enum ygg_err (*finish)(void *ctx, uint8_t digest[32]);
};

enum ygg_log_level { YGG_LOG_INFO, YGG_LOG_WARNING };

/* One field of a log line: text, or where that is NULL, a number. Text may come from the peer: a port makes it
 * printable before it shows it to anybody. */
struct ygg_log_field {
    const char *key;
    const char *text;
    uint64_t number;
};

struct ygg_platform {
    /* Milliseconds since some moment before the agent's start; never goes back. */
    uint64_t (*now_ms)(void *ctx);
    /* Fills `out` with unpredictable bytes. On failure the agent goes on without jitter. */
    enum ygg_err (*random)(void *ctx, uint8_t *out, size_t size);
    /* Tells a person. `event` and keys are constants; `fields` and their texts are gone after the call. */
    void (*log)(void *ctx, enum ygg_log_level level, const char *event, const struct ygg_log_field *fields,
                size_t count);
};

/* Numbered as yggdrasil.device.v1.Operation. */
enum ygg_operation { YGG_OPERATION_READ = 1, YGG_OPERATION_WRITE = 2, YGG_OPERATION_ACTION = 3 };

/* Numbered as yggdrasil.device.v1.ResultStatus. */
enum ygg_status {
    YGG_STATUS_OK = 1,
    YGG_STATUS_INVALID_ARGUMENT = 2,
    YGG_STATUS_NOT_FOUND = 3,
    YGG_STATUS_NOT_ALLOWED = 4,
    YGG_STATUS_BUSY = 5,
    YGG_STATUS_HARDWARE = 6,
    YGG_STATUS_DEADLINE = 7
};

/* A call that the core has checked against the capability tables: indices exist, arguments have the declared type
 * (an integer given for a DOUBLE is a DOUBLE by now) and are in range. Gone after the driver returns. */
struct ygg_call {
    uint32_t handle; /* For ygg_agent_complete, where the driver answers later. */
    uint32_t deadline_ms; /* Time left, 1 and up. */
    enum ygg_operation operation;
    uint8_t capability; /* Index in the document. */
    uint8_t member;     /* Index of the property or action. */
    struct ygg_value arguments[YGG_ARGUMENTS_MAX]; /* By index; YGG_TYPE_NONE where left out. A write has [0]. */
};

/* The driver's answer. All zero but `status` = YGG_STATUS_OK when the driver gets it. */
struct ygg_answer {
    enum ygg_status status;
    bool more;           /* Other answers to this call follow. Only of a streamed action, only with OK. */
    const char *message; /* For people, at most 63 bytes; NULL when OK. */
    uint8_t count;       /* Results; a read has one. */
    struct ygg_value values[YGG_ARGUMENTS_MAX]; /* Texts must live until the function that takes the answer returns. */
};

/* The board: whatever really does what the capability tables promise. */
struct ygg_driver {
    /* Does the call. YGG_OK: `answer` is filled in, and is the last. YGG_ERR_AGAIN: the answers come later by
     * ygg_agent_complete. BUSY says that nothing was done: the call may be repeated. */
    enum ygg_err (*call)(void *ctx, const struct ygg_call *call, struct ygg_answer *answer);
};

/* Everything together. The tables and contexts outlive the agent. */
struct ygg_hal {
    const struct ygg_transport *transport;
    const struct ygg_hash *hash;
    const struct ygg_platform *platform;
    const struct ygg_driver *driver;
    void *transport_ctx;
    void *hash_ctx;
    void *platform_ctx;
    void *driver_ctx;
};

#endif
