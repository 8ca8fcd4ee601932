/* The hardware abstraction layer: four tables of functions that a port fills in.
 *
 * Every function is called from within ygg_agent_*(), on the caller's thread, and must neither block nor call back into
 * the agent (a driver may call ygg_agent_emit, ygg_agent_sample and ygg_agent_changed). See firmware/README.md,
 * "Porting". */
#ifndef YGG_HAL_H
#define YGG_HAL_H

#include "ygg/err.h"
#include "ygg/value.h"

/* One connection to the bridge: TLS 1.3 with mutual authentication. */
struct ygg_transport {
    /* Starts or continues to connect to `address` ("HOST:PORT"). YGG_OK: connected, the handshake is done and the peer
     * is the bridge. YGG_ERR_AGAIN: in progress, call again. Any other error: failed; close() follows. */
    enum ygg_err (*connect)(void *ctx, const char *address);
    /* Reads up to `size` bytes. Returns the number read, 1 and up, or YGG_ERR_AGAIN, YGG_ERR_CLOSED or YGG_ERR_IO. */
    int32_t (*read)(void *ctx, uint8_t *buffer, size_t size);
    /* Writes up to `size` bytes. Returns the number accepted, 1 and up, or YGG_ERR_AGAIN, YGG_ERR_CLOSED or YGG_ERR_IO.
     * After YGG_ERR_AGAIN the next write begins with the same bytes and is not shorter. */
    int32_t (*write)(void *ctx, const uint8_t *data, size_t size);
    /* Closes the connection or the attempt. Does nothing without one. */
    void (*close)(void *ctx);
};

/* Incremental SHA-256. One computation at a time. */
struct ygg_hash {
    enum ygg_err (*begin)(void *ctx);
    enum ygg_err (*update)(void *ctx, const uint8_t *data, size_t size);
    enum ygg_err (*finish)(void *ctx, uint8_t digest[32]);
};

enum ygg_log_level { YGG_LOG_INFO, YGG_LOG_WARNING };

/* One field of a log line: text, or a number if `text` is NULL. Text may come from the peer: the port must escape it
 * before it prints it. */
struct ygg_log_field {
    const char *key;
    const char *text;
    uint64_t number;
};

struct ygg_platform {
    /* Returns milliseconds of a monotonic clock that started before the agent. */
    uint64_t (*now_ms)(void *ctx);
    /* Fills `out` with unpredictable bytes. On failure the agent continues without jitter. */
    enum ygg_err (*random)(void *ctx, uint8_t *out, size_t size);
    /* Writes a log line. `event` and keys are constants; `fields` and their texts are valid only during the call. */
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

/* A request that the core has checked against the capability tables: indexes exist, arguments have the declared type
 * (an integer for a DOUBLE has been converted) and are in range. Valid only during the driver's call. */
struct ygg_call {
    uint32_t handle;      /* For ygg_agent_complete, if the driver answers later. */
    uint32_t deadline_ms; /* Time left, 1 and up. */
    enum ygg_operation operation;
    uint8_t capability;                            /* Index in the document. */
    uint8_t member;                                /* Index of the property or action. */
    struct ygg_value arguments[YGG_ARGUMENTS_MAX]; /* By index; YGG_TYPE_NONE if omitted. A write has [0]. */
};

/* The driver's answer. Passed to the driver as all zero except `status` = YGG_STATUS_OK. */
struct ygg_answer {
    enum ygg_status status;
    bool more;           /* More answers follow. Only for a streamed action with status OK. */
    const char *message; /* Human-readable, at most 63 bytes; NULL when OK. */
    uint8_t count;       /* Number of results; a read has one. */
    /* Texts must stay valid until the function that receives the answer returns. */
    struct ygg_value values[YGG_ARGUMENTS_MAX];
};

/* The board: the implementation of the capability tables. */
struct ygg_driver {
    /* Executes the call. YGG_OK: `answer` is filled in and final. YGG_ERR_AGAIN: answers follow through
     * ygg_agent_complete. Status BUSY means that nothing was done, so the call may be repeated. */
    enum ygg_err (*call)(void *ctx, const struct ygg_call *call, struct ygg_answer *answer);
};

/* All tables and their contexts, which must outlive the agent. */
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
