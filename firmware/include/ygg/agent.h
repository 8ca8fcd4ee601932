/* The agent: one device's end of the Einherjar link, as a library without heap, threads or OS.
 *
 * Owns the session with the bridge: connecting, negotiating, heartbeats, calls, events, reconnecting. Does not own
 * sockets, TLS, time or hardware; those come through struct ygg_hal. One thread may run thousands of agents.
 * Source: protos/yggdrasil/device/v1/link.proto.
 *
 *     struct ygg_agent agent;
 *     ygg_agent_init(&agent, &config, &hal);
 *     for (;;) {
 *         ygg_agent_step(&agent);
 *         wait until the socket is ready or the time is ygg_agent_wake_ms(&agent);
 *     }
 */
#ifndef YGG_AGENT_H
#define YGG_AGENT_H

#include "ygg/capability.h"
#include "ygg/hal.h"

enum {
    YGG_PROTOCOL = 1,          /* The protocol version that this library speaks. */
    YGG_PREFIX_BYTES = 3,      /* Longest length prefix of a frame. */
    YGG_FRAME_BYTES_MIN = 256, /* Least frame limit, either direction. */
    YGG_FRAME_BYTES_MAX = 16384,
    YGG_RECORDS_BYTES_MIN = 256, /* Least size of the event and of the answer memory. */
    YGG_SCRATCH_BYTES = 1024,
    YGG_CALLS_MAX = 8, /* Calls that a driver may have under way. */
    YGG_FEATURES_MAX = 8,
    YGG_SAMPLES_MAX = 8, /* Samples in one frame of telemetry. */
    YGG_TWIN_MAX = 8,    /* Properties in one frame of the twin. */
    YGG_CALL_ID_BYTES = 37,
    YGG_SESSION_ID_BYTES = 37,
    YGG_ADDRESS_BYTES = 64
};

/* Room to decode a frame in. Used only within one call, so all agents of a thread may share one. */
struct ygg_scratch {
    union {
        uint64_t alignment;
        uint8_t bytes[YGG_SCRATCH_BYTES];
    } room;
};

/* A feature of the protocol that this device offers. */
struct ygg_feature {
    const char *name;
    uint32_t min_version;
    uint32_t max_version;
    bool required; /* The device cannot work without it. */
};

/* The features that this library can use, none of them required. One that the bridge refuses, or that a device does
 * not offer, is not used. */
#define YGG_FEATURE_TELEMETRY {.name = "telemetry", .min_version = 1, .max_version = 1}
#define YGG_FEATURE_CAPABILITY_UPDATE {.name = "capability_update", .min_version = 1, .max_version = 1}
#define YGG_FEATURE_TWIN {.name = "twin", .min_version = 1, .max_version = 1}
#define YGG_FEATURE_OTA {.name = "ota", .min_version = 1, .max_version = 1} /* With ygg_config.ota. */
#define YGG_FEATURE_CERTIFICATE {.name = "certificate", .min_version = 1, .max_version = 1} /* With ygg_config.certificate. */

/* Who the device is and the memory it may use. Everything pointed to outlives the agent. */
struct ygg_config {
    const char *device_id;        /* `[a-z0-9][a-z0-9-]{0,62}`, as in the certificate. */
    const char *model;            /* At most 31 bytes. */
    const char *device_class;     /* At most 31 bytes. */
    const char *firmware_version; /* At most 31 bytes. */
    const char *slot;             /* "A" or "B"; "" where there are no slots. */
    const char *address;          /* The bridge, "HOST:PORT", at most 63 bytes. */
    uint64_t boot_id;             /* Random, not 0, new at each boot: events and call ids are numbered by it. */
    const struct ygg_document *document; /* At boot; ygg_agent_update changes it. */
    const struct ygg_feature *features; /* NULL where features_count is 0. */
    uint8_t features_count;             /* At most YGG_FEATURES_MAX. */
    uint8_t *rx;                        /* Receive buffer: largest frame + YGG_PREFIX_BYTES. */
    size_t rx_size;                     /* In bytes. */
    uint8_t *tx;                        /* Send buffer: largest frame + YGG_PREFIX_BYTES. */
    size_t tx_size;                     /* In bytes. */
    uint8_t *events;                    /* Events that the bridge has not stored yet. */
    size_t events_size;                 /* In bytes, YGG_RECORDS_BYTES_MIN to 65535. */
    uint8_t *answers;                   /* The last answers, for calls that are repeated. */
    size_t answers_size;                /* In bytes, YGG_RECORDS_BYTES_MIN to 65535. */
    uint8_t *samples;                   /* Telemetry that has not been sent; NULL where samples_size is 0. */
    size_t samples_size;                /* In bytes; 0, or YGG_RECORDS_BYTES_MIN to 65535. */
    struct ygg_scratch *scratch;
    struct ygg_ota *ota;                /* Updates; NULL: this device takes none. ygg/ota.h. */
    struct ygg_certificate *certificate; /* Renewal; NULL: its certificate is not renewed over the link. ygg/certificate.h. */
    uint32_t rx_record_bytes;      /* Largest TLS record that can be received, 512 to 16384. */
    uint32_t free_ram_bytes;       /* RAM free at boot; 0 where unknown. */
    uint32_t backoff_min_ms;       /* Bound of the first delay before a reconnect, 1 and up. */
    uint32_t backoff_max_ms;       /* Bound of the longest, at least backoff_min_ms. */
    uint32_t handshake_timeout_ms; /* For each of: connection, Welcome, contract. 1 and up. */
    uint32_t start_delay_ms;       /* Before the first connection. */
};

enum ygg_state {
    YGG_STATE_BACKOFF,    /* Waits for the time of the next connection. */
    YGG_STATE_CONNECTING, /* TCP and TLS. */
    YGG_STATE_HELLO,      /* Hello is on its way; waits for Welcome or Refused. */
    YGG_STATE_PAGES,      /* Sends the capability document. */
    YGG_STATE_CONTRACT,   /* Waits for ContractNotice. */
    YGG_STATE_ACTIVE,     /* Calls and events. */
    YGG_STATE_UPDATING,   /* CapabilityUpdate is on its way; calls are answered, events wait. */
    YGG_STATE_CLOSING,    /* Goodbye is on its way. */
    YGG_STATE_STOPPED     /* ygg_agent_stop was called; nothing happens any more. */
};

/* Private: variable-length records in one buffer, oldest first. core/records.h. */
struct ygg_records {
    uint8_t *data;
    size_t size;
    size_t used;
};

/* Private: bytes between the transport and the frames. core/link.h. */
struct ygg_link {
    size_t rx_head, rx_end; /* rx[rx_head, rx_end) is received and not handled. */
    size_t tx_head, tx_end; /* tx[tx_head, tx_end) is waiting to be sent. */
    size_t tx_limit;        /* Largest frame that the session lets us send, in bytes. */
    uint64_t last_rx_ms;    /* When the last whole frame came. */
    uint64_t last_tx_ms;    /* When the transport last took bytes. */
    uint64_t last_ping_ms;
};

/* Private: what somebody waits for. */
enum ygg_pending_kind {
    YGG_PENDING_CALL,       /* A call of the bridge's. */
    YGG_PENDING_TWIN_WRITE, /* An entry of a TwinDelta. */
    YGG_PENDING_TWIN_READ   /* A property that is to be reported. */
};

/* Private: what the driver has not answered yet. */
struct ygg_pending {
    uint32_t handle;    /* 0: free. */
    uint32_t session;   /* agent->sessions when it was last asked for. */
    uint8_t kind;       /* An enum ygg_pending_kind. */
    bool streamed;      /* May have more answers than one. */
    uint8_t capability; /* What may be another afterwards; YGG_CAPABILITIES_MAX: nothing. */
    uint8_t property;   /* Of the twin's. */
    uint64_t deadline_ms;
    union {
        char call_id[YGG_CALL_ID_BYTES]; /* Of a call. */
        uint64_t version;                /* Of the TwinDelta. */
    } key;
};

/* One agent. Caller-owned; read it through the functions below, but for the counters at the end. */
struct ygg_agent {
    const struct ygg_config *config;
    const struct ygg_hal *hal;
    enum ygg_state state;
    bool stopping;         /* Stay stopped once the link is down. */
    bool busy;             /* There is work for step() now. */
    bool was_active;       /* The connection's session became active. */
    bool slow;             /* The next delay is drawn up to the longest bound. */
    uint8_t attempt;       /* Connections in a row that did not last. */
    uint32_t floor_ms;     /* Least delay that the peer asked for. */
    uint64_t boot_ms;      /* Clock at init. */
    uint64_t deadline_ms;  /* When the present state ends by itself. */
    uint64_t active_ms;    /* When the session became active. */
    uint64_t resend_ms;    /* When unacknowledged events are sent again. */
    uint32_t heartbeat_ms; /* Of the session. */
    uint32_t page_bytes;   /* Of the session. */
    uint32_t page_offset;
    uint32_t document_bytes;
    uint32_t next_handle;
    uint64_t event_sequence; /* Of the newest event of this boot. */
    uint64_t event_sent;     /* Where this session has got to; goes back to send again. */
    uint64_t event_newest;   /* Newest event sent in this session. */
    uint32_t event_window;   /* New events that the session lets us send ahead of EventAck. */
    uint32_t events_ahead;   /* New events sent and not acknowledged, at most. */
    uint32_t credit;         /* Frames of telemetry that the session lets us send; 0 without the feature. */
    bool telemetry;          /* The session has the feature. */
    const struct ygg_document *document; /* What the session is about. */
    const struct ygg_document *next_document;   /* What it shall be about; NULL: the same. */
    uint32_t next_document_bytes;
    uint8_t next_digest[32];
    bool twin;            /* The session has the feature. */
    bool twin_full;      /* The report of everything is not complete yet. */
    uint8_t twin_next;    /* The property that comes next, of the first capability that is due. */
    uint32_t twin_due;    /* Capabilities to be reported, a bit each. */
    uint64_t twin_ms;     /* Not before this. */
    bool updates;         /* The session has the feature. */
    bool update_answered; /* In UPDATING: CapabilityUpdateAck came. */
    bool ota;             /* The session has the feature, and this device takes updates. */
    bool certificate;     /* The session has the feature, and this device renews its certificate. */
    uint8_t digest[32];
    char session_id[YGG_SESSION_ID_BYTES];
    char redirect[YGG_ADDRESS_BYTES]; /* Where the bridge sent us; "" for config->address. */
    struct ygg_link link;
    struct ygg_records events;
    struct ygg_records answers;
    struct ygg_records samples;
    struct ygg_pending pending[YGG_CALLS_MAX];
    /* Counters since boot; free to read. */
    uint32_t sessions;        /* Sessions that became active. */
    uint32_t events_dropped;  /* Events lost because the memory was full. */
    uint32_t samples_dropped; /* Samples lost for want of room or credit. */
    uint32_t calls_done;      /* Calls that reached the driver. */
    uint32_t calls_repeated;  /* Calls answered from memory. */
};

/* Prepares an agent. It connects at the first step after config->start_delay_ms. YGG_ERR_ARGUMENT where the
 * configuration or the capability tables are out of bounds; YGG_ERR_IO where the hash failed. */
enum ygg_err ygg_agent_init(struct ygg_agent *agent, const struct ygg_config *config, const struct ygg_hal *hal);

/* Does all that can be done now, without waiting. Call it when the transport may be ready and at wake_ms. */
void ygg_agent_step(struct ygg_agent *agent);

/* When step() must be called again at the latest, on the platform's clock; UINT64_MAX when stopped. */
uint64_t ygg_agent_wake_ms(const struct ygg_agent *agent);

/* Records an event; it is sent until the bridge has stored it. `fields` by index, `count` at most
 * YGG_ARGUMENTS_MAX. The oldest events are dropped and counted when there is no room. Works in any state.
 * YGG_ERR_ARGUMENT: no such event, or fields of the wrong type. YGG_ERR_TOO_LONG: would never fit; counted. */
enum ygg_err ygg_agent_emit(struct ygg_agent *agent, uint8_t capability, uint8_t event,
                            const struct ygg_value *fields, uint8_t count);

/* Takes a value of an observable property. It is sent once, with others that wait, when the session has credit for
 * it; the oldest are dropped and counted when there is no room. Works in any state. YGG_ERR_ARGUMENT: no such
 * property, not observable, or a value of the wrong type. YGG_ERR_TOO_LONG: would never fit; counted. */
enum ygg_err ygg_agent_sample(struct ygg_agent *agent, uint8_t capability, uint8_t property,
                              const struct ygg_value *value);

/* Properties of a capability have other values than the bridge was told, by no doing of the bridge's. In a session with
 * the twin the capability is reported soon. Works in any state. YGG_ERR_ARGUMENT: no such capability. */
enum ygg_err ygg_agent_changed(struct ygg_agent *agent, uint8_t capability);

/* The device can do other things from now on. In a session the bridge is told, or, where it does not know how, the
 * session begins anew. Until the new contract calls come by the indexes of the old document; events and samples are
 * from this call on by those of the new one, and wait. What is waiting and does not mean the same in both is dropped
 * and counted. `document` outlives the agent. YGG_ERR_ARGUMENT: out of bounds; YGG_ERR_IO: the hash failed;
 * YGG_ERR_AGAIN: an update is under way, call again when it is over. */
enum ygg_err ygg_agent_update(struct ygg_agent *agent, const struct ygg_document *document);

/* Answers what the driver returned YGG_ERR_AGAIN for. With `more` the call goes on: such an answer is sent to
 * the session that asked, where there is one, and not kept. YGG_ERR_NOT_FOUND: it is over, its deadline passed.
 * YGG_ERR_ARGUMENT: `more` where the action is not streamed or the status is not OK, or the answer is too large.
 * YGG_ERR_FULL: no room for the answer until earlier ones have been sent; call again later. */
enum ygg_err ygg_agent_complete(struct ygg_agent *agent, uint32_t handle, const struct ygg_answer *answer);

/* Says Goodbye and stops for good. Step on until the state is YGG_STATE_STOPPED (at most one second). */
void ygg_agent_stop(struct ygg_agent *agent);

/* Whether the device has to be restarted, through its bootloader: a new image is there, or the one on trial gave up. The
 * agent has said Goodbye and stopped. */
bool ygg_agent_wants_restart(const struct ygg_agent *agent);

/* Name of a state, for people. */
const char *ygg_state_name(enum ygg_state state);

/* SHA-256 of the capability document and its size in bytes; made at init. */
const uint8_t *ygg_agent_digest(const struct ygg_agent *agent, uint32_t *size_bytes);

#endif
