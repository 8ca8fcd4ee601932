/* The agent: the device's end of the Einherjar link, as a library without heap, threads or OS.
 *
 * Owns the session with the bridge: connecting, negotiating, heartbeats, calls, events, reconnecting. Does not own
 * sockets, TLS, time or hardware; those come through struct ygg_hal. One thread may run thousands of agents. Source:
 * protos/yggdrasil/device/v1/link.proto.
 *
 *     struct ygg_agent agent;
 *     ygg_agent_init(&agent, &config, &hal);
 *     for (;;) {
 *         ygg_agent_step(&agent);
 *         wait until the socket is ready or the time is ygg_agent_wake_ms(&agent);
 *     } */
#ifndef YGG_AGENT_H
#define YGG_AGENT_H

#include "ygg/capability.h"
#include "ygg/hal.h"

enum {
    YGG_PROTOCOL = 1,          /* Protocol version that this library implements. */
    YGG_PREFIX_BYTES = 3,      /* Longest length prefix of a frame. */
    YGG_FRAME_BYTES_MIN = 256, /* Smallest frame limit, in either direction. */
    YGG_FRAME_BYTES_MAX = 16384,
    YGG_RECORDS_BYTES_MIN = 256, /* Smallest size of the event memory and of the answer memory. */
    YGG_SCRATCH_BYTES = 1024,
    YGG_CALLS_MAX = 8, /* Calls in flight. */
    YGG_FEATURES_MAX = 8,
    YGG_SAMPLES_MAX = 8, /* Samples in one frame of telemetry. */
    YGG_TWIN_MAX = 8,    /* Properties in one frame of the twin. */
    YGG_CALL_ID_BYTES = 37,
    YGG_SESSION_ID_BYTES = 37,
    YGG_ADDRESS_BYTES = 64
};

/* Buffer to decode a frame in. Used only within one call, so all agents of a thread may share one. */
struct ygg_scratch {
    union {
        uint64_t alignment;
        uint8_t bytes[YGG_SCRATCH_BYTES];
    } room;
};

/* A protocol feature that this device offers. */
struct ygg_feature {
    const char *name;
    uint32_t min_version;
    uint32_t max_version;
    bool required; /* The device cannot work without it. */
};

/* The features that this library implements, none of them required. A feature is used only if the device offers it and
 * the bridge accepts it. */
#define YGG_FEATURE_TELEMETRY {.name = "telemetry", .min_version = 1, .max_version = 1}
#define YGG_FEATURE_CAPABILITY_UPDATE {.name = "capability_update", .min_version = 1, .max_version = 1}
#define YGG_FEATURE_TWIN {.name = "twin", .min_version = 1, .max_version = 1}
#define YGG_FEATURE_OTA {.name = "ota", .min_version = 1, .max_version = 1} /* With ygg_config.ota. */
#define YGG_FEATURE_CERTIFICATE                                                                                        \
    {.name = "certificate", .min_version = 1, .max_version = 1} /* With ygg_config.certificate. */

/* Identity of the device and the memory that the agent may use. Everything pointed to must outlive the agent. */
struct ygg_config {
    const char *device_id;        /* `[a-z0-9][a-z0-9-]{0,62}`, as in the certificate. */
    const char *model;            /* At most 31 bytes. */
    const char *device_class;     /* At most 31 bytes. */
    const char *firmware_version; /* At most 31 bytes. */
    const char *slot;             /* "A" or "B"; "" without slots. */
    const char *address;          /* Address of the bridge, "HOST:PORT", at most 63 bytes. */
    uint64_t boot_id;             /* Random, not 0, new at each boot: event sequences and call ids are scoped to it. */
    const struct ygg_document *document; /* Initial document; ygg_agent_update changes it. */
    const struct ygg_feature *features;  /* NULL if features_count is 0. */
    uint8_t features_count;              /* At most YGG_FEATURES_MAX. */
    uint8_t *rx;                         /* Receive buffer: largest frame + YGG_PREFIX_BYTES. */
    size_t rx_size;                      /* In bytes. */
    uint8_t *tx;                         /* Send buffer: largest frame + YGG_PREFIX_BYTES. */
    size_t tx_size;                      /* In bytes. */
    uint8_t *events;                     /* Memory for events that the bridge has not stored yet. */
    size_t events_size;                  /* In bytes, YGG_RECORDS_BYTES_MIN to 65535. */
    uint8_t *answers;                    /* Memory for the latest answers, for repeated calls. */
    size_t answers_size;                 /* In bytes, YGG_RECORDS_BYTES_MIN to 65535. */
    uint8_t *samples;                    /* Memory for telemetry that has not been sent; NULL if samples_size is 0. */
    size_t samples_size;                 /* In bytes; 0, or YGG_RECORDS_BYTES_MIN to 65535. */
    struct ygg_scratch *scratch;
    struct ygg_ota *ota;                 /* Updates, see ygg/ota.h; NULL: this device accepts none. */
    struct ygg_certificate *certificate; /* Renewal over the link, see ygg/certificate.h; NULL: disabled. */
    uint32_t rx_record_bytes;            /* Largest TLS record that can be received, 512 to 16384. */
    uint32_t free_ram_bytes;             /* Free RAM at boot; 0 if unknown. */
    uint32_t backoff_min_ms;             /* Upper bound of the first delay before a reconnect, 1 and up. */
    uint32_t backoff_max_ms;             /* Upper bound of any delay, at least backoff_min_ms. */
    uint32_t handshake_timeout_ms;       /* Timeout of each step: connection, Welcome, contract. 1 and up. */
    uint32_t start_delay_ms;             /* Delay before the first connection. */
};

enum ygg_state {
    YGG_STATE_BACKOFF,    /* Waits before the next connection. */
    YGG_STATE_CONNECTING, /* TCP connection and TLS handshake. */
    YGG_STATE_HELLO,      /* Hello queued; waits for Welcome or Refused. */
    YGG_STATE_PAGES,      /* Sends the capability document. */
    YGG_STATE_CONTRACT,   /* Waits for ContractNotice. */
    YGG_STATE_ACTIVE,     /* Calls and events. */
    YGG_STATE_UPDATING,   /* CapabilityUpdate queued; calls are answered, events wait. */
    YGG_STATE_CLOSING,    /* Goodbye queued. */
    YGG_STATE_STOPPED     /* After ygg_agent_stop; final. */
};

/* Private: variable-length records in one buffer, oldest first. core/records.h. */
struct ygg_records {
    uint8_t *data;
    size_t size;
    size_t used;
};

/* Private: bytes between the transport and the frames. core/link.h. */
struct ygg_link {
    size_t rx_head, rx_end; /* rx[rx_head, rx_end): received and not yet handled. */
    size_t tx_head, tx_end; /* tx[tx_head, tx_end): queued and not yet sent. */
    size_t tx_limit;        /* Largest frame that the session allows the device to send, in bytes. */
    uint64_t last_rx_ms;    /* When the last complete frame was received. */
    uint64_t last_tx_ms;    /* When the transport last accepted bytes. */
    uint64_t last_ping_ms;
};

/* Private: the request that a pending answer belongs to. */
enum ygg_pending_kind {
    YGG_PENDING_CALL,       /* An Invoke. */
    YGG_PENDING_TWIN_WRITE, /* An entry of a TwinDelta. */
    YGG_PENDING_TWIN_READ   /* A property that is read for a report. */
};

/* Private: a request that the driver has not answered yet. */
struct ygg_pending {
    uint32_t handle;    /* 0: free. */
    uint32_t session;   /* agent->sessions at the latest request. */
    uint8_t kind;       /* An enum ygg_pending_kind. */
    bool streamed;      /* May get more than one answer. */
    uint8_t capability; /* Capability to report afterwards; YGG_CAPABILITIES_MAX: none. */
    uint8_t property;   /* Property of a twin request. */
    uint64_t deadline_ms;
    union {
        char call_id[YGG_CALL_ID_BYTES]; /* Of an Invoke. */
        uint64_t version;                /* Of the TwinDelta. */
    } key;
};

/* One agent. Caller-owned. Read it through the functions below, except for the counters at the end. */
struct ygg_agent {
    const struct ygg_config *config;
    const struct ygg_hal *hal;
    enum ygg_state state;
    bool stopping;         /* Stop once the link is closed. */
    bool busy;             /* step() has work to do now. */
    bool was_active;       /* The session of this connection became active. */
    bool slow;             /* Draw the next delay from the longest bound. */
    uint8_t attempt;       /* Consecutive connections that did not last. */
    uint32_t floor_ms;     /* Minimum delay that the peer asked for. */
    uint64_t boot_ms;      /* Clock at init. */
    uint64_t deadline_ms;  /* When the current state times out. */
    uint64_t active_ms;    /* When the session became active. */
    uint64_t resend_ms;    /* When unacknowledged events are sent again. */
    uint32_t heartbeat_ms; /* Negotiated. */
    uint32_t page_bytes;   /* Negotiated. */
    uint32_t page_offset;
    uint32_t document_bytes;
    uint32_t next_handle;
    uint64_t event_sequence;                  /* Of the newest event since boot. */
    uint64_t event_sent;                      /* Last sequence sent in this session; set back to resend. */
    uint64_t event_newest;                    /* Newest event sent in this session. */
    uint32_t event_window;                    /* New events that may be sent ahead of EventAck. */
    uint32_t events_ahead;                    /* Upper bound of the new events sent and not acknowledged. */
    uint32_t credit;                          /* Telemetry frames that may be sent; 0 without the feature. */
    bool telemetry;                           /* Feature negotiated. */
    const struct ygg_document *document;      /* Document of the contract in force. */
    const struct ygg_document *next_document; /* Document of the next contract; NULL: unchanged. */
    uint32_t next_document_bytes;
    uint8_t next_digest[32];
    bool twin;            /* Feature negotiated. */
    bool twin_full;       /* The full report after a contract is not complete yet. */
    uint8_t twin_next;    /* Next property to report, of the first capability that is due. */
    uint32_t twin_due;    /* Capabilities to report, one bit each. */
    uint64_t twin_ms;     /* Earliest time of the next report. */
    bool updates;         /* Feature negotiated. */
    bool update_answered; /* In UPDATING: CapabilityUpdateAck was received. */
    bool ota;             /* Feature negotiated, and the device accepts updates. */
    bool certificate;     /* Feature negotiated, and the device renews its certificate. */
    uint8_t digest[32];
    char session_id[YGG_SESSION_ID_BYTES];
    char redirect[YGG_ADDRESS_BYTES]; /* Address that the bridge redirected to; "": config->address. */
    struct ygg_link link;
    struct ygg_records events;
    struct ygg_records answers;
    struct ygg_records samples;
    struct ygg_pending pending[YGG_CALLS_MAX];
    /* Counters since boot; free to read. */
    uint32_t sessions;        /* Sessions that became active. */
    uint32_t events_dropped;  /* Events lost because the memory was full. */
    uint32_t samples_dropped; /* Samples lost because memory or credit ran out. */
    uint32_t calls_done;      /* Calls that reached the driver. */
    uint32_t calls_repeated;  /* Calls answered from memory. */
};

/* Initialises an agent. It connects at the first step after config->start_delay_ms. YGG_ERR_ARGUMENT: the configuration
 * or the capability tables are invalid. YGG_ERR_IO: the hash failed. */
enum ygg_err ygg_agent_init(struct ygg_agent *agent, const struct ygg_config *config, const struct ygg_hal *hal);

/* Does all work that is possible without waiting. Call it when the transport may be ready and at wake_ms. */
void ygg_agent_step(struct ygg_agent *agent);

/* Returns the latest time of the next step(), in milliseconds of the platform's clock; UINT64_MAX when stopped. */
uint64_t ygg_agent_wake_ms(const struct ygg_agent *agent);

/* Records an event and sends it until the bridge has stored it, in any state. `fields` by index, `count` at most
 * YGG_ARGUMENTS_MAX. If the memory is full, the oldest events are dropped and counted. YGG_ERR_ARGUMENT: unknown event,
 * or fields of the wrong type. YGG_ERR_TOO_LONG: larger than the whole memory; counted as dropped. */
enum ygg_err ygg_agent_emit(struct ygg_agent *agent, uint8_t capability, uint8_t event, const struct ygg_value *fields,
                            uint8_t count);

/* Records a value of an observable property and sends it at most once, together with other samples, when the session
 * has credit. Works in any state. If the memory is full, the oldest samples are dropped and counted. YGG_ERR_ARGUMENT:
 * unknown property, not observable, or a value of the wrong type. YGG_ERR_TOO_LONG: larger than the whole memory;
 * counted as dropped. */
enum ygg_err ygg_agent_sample(struct ygg_agent *agent, uint8_t capability, uint8_t property,
                              const struct ygg_value *value);

/* Reports that properties of a capability changed for a reason other than a request of the bridge. In a session with
 * the twin the capability is reported soon. Works in any state. YGG_ERR_ARGUMENT: unknown capability. */
enum ygg_err ygg_agent_changed(struct ygg_agent *agent, uint8_t capability);

/* Replaces the capability document. In a session the bridge is notified; without the feature `capability_update` the
 * session is closed and negotiated again. Until the new contract, calls use the indexes of the old document. Events and
 * samples use those of the new one as soon as this call returns, and wait. Queued events and samples whose meaning
 * differs between the documents are dropped and counted. `document` must outlive the agent. YGG_ERR_ARGUMENT: invalid
 * document. YGG_ERR_IO: the hash failed. YGG_ERR_AGAIN: an update is in progress; call again when it has ended. */
enum ygg_err ygg_agent_update(struct ygg_agent *agent, const struct ygg_document *document);

/* Answers a request for which the driver returned YGG_ERR_AGAIN. With `more`, the call continues: the answer goes to
 * the session that requested it, if that is still open, and is not remembered. YGG_ERR_NOT_FOUND: the request has
 * ended, its deadline passed. YGG_ERR_ARGUMENT: `more` for an action that is not streamed or with a status other than
 * OK, or the answer is too large. YGG_ERR_FULL: no room until earlier answers have been sent; call again later. */
enum ygg_err ygg_agent_complete(struct ygg_agent *agent, uint32_t handle, const struct ygg_answer *answer);

/* Sends Goodbye and stops permanently. Keep calling step() until the state is YGG_STATE_STOPPED (at most one
 * second). */
void ygg_agent_stop(struct ygg_agent *agent);

/* Returns whether the device must be restarted through its bootloader: a new image is pending, or the image on trial
 * was reverted. The agent has sent Goodbye and stopped. */
bool ygg_agent_wants_restart(const struct ygg_agent *agent);

/* Returns the name of a state, for logs. */
const char *ygg_state_name(enum ygg_state state);

/* Returns the SHA-256 of the capability document (32 bytes), and its size in bytes. */
const uint8_t *ygg_agent_digest(const struct ygg_agent *agent, uint32_t *size_bytes);

#endif
