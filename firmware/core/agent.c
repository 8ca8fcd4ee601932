/* The agent's states.
 *
 *              init
 *               |
 *               v          delay over           connected: Hello
 *      .--> BACKOFF ---------------> CONNECTING ---------------> HELLO
 *      |        ^                        | failed, timeout         | Welcome
 *      |        |<-----------------------'                         v
 *      |        |                          .-- pages requested -- (?) -- digest known --.
 *      |        |                          v                                            v
 *      |        |                        PAGES ------ all are queued ------------->  CONTRACT
 *      |        |                                                                     | ContractNotice
 *      |        |   lost, Refused, Goodbye received                                   v
 *      |        '------------------------------- from any state with a link ------- ACTIVE <--- ContractNotice ---.
 *      |                                                                              '--- CapabilityUpdate --> UPDATING
 *      |
 *      '---- CLOSING <--- peer broke the protocol, was silent or late; or stop() --- any state with a link
 *               | Goodbye is sent, or was not within CLOSE_MS
 *               '---> STOPPED after stop()
 *
 * The delay in BACKOFF is random in 0 … min × 2^attempt (at most max), plus the delay that the peer asked for (at most
 * an hour). If the bridge blames this device, the range is 0 … max immediately. `attempt` is reset to 0 after a session
 * that was active for longer than the longest delay. */
#include <string.h>

#include "core/backoff.h"
#include "core/internal.h"
#include "core/link.h"
#include "core/records.h"
#include "ygg/document.h"

enum { CLOSE_MS = 1000, ROUNDS_PER_STEP_MAX = 64, ATTEMPTS_MAX = 32, FLOOR_MS_MAX = 3600000 };

static const char *const state_names[] = {
    [YGG_STATE_BACKOFF] = "backoff",   [YGG_STATE_CONNECTING] = "connecting", [YGG_STATE_HELLO] = "hello",
    [YGG_STATE_PAGES] = "pages",       [YGG_STATE_CONTRACT] = "contract",     [YGG_STATE_ACTIVE] = "active",
    [YGG_STATE_UPDATING] = "updating", [YGG_STATE_CLOSING] = "closing",       [YGG_STATE_STOPPED] = "stopped",
};

const char *ygg_state_name(enum ygg_state state)
{
    return state_names[state];
}

void ygg_log(const struct ygg_agent *agent, enum ygg_log_level level, const char *event,
             const struct ygg_log_field *fields, size_t count)
{
    agent->hal->platform->log(agent->hal->platform_ctx, level, event, fields, count);
}

static bool sizes_fit(const struct ygg_config *config)
{
    return config->rx_size >= YGG_FRAME_BYTES_MIN + YGG_PREFIX_BYTES &&
           config->rx_size <= YGG_FRAME_BYTES_MAX + YGG_PREFIX_BYTES &&
           config->tx_size >= YGG_FRAME_BYTES_MIN + YGG_PREFIX_BYTES &&
           config->tx_size <= YGG_FRAME_BYTES_MAX + YGG_PREFIX_BYTES && config->events_size >= YGG_RECORDS_BYTES_MIN &&
           config->events_size <= UINT16_MAX && config->answers_size >= YGG_RECORDS_BYTES_MIN &&
           config->answers_size <= UINT16_MAX &&
           (config->samples_size == 0 ||
            (config->samples_size >= YGG_RECORDS_BYTES_MIN && config->samples_size <= UINT16_MAX));
}

static bool text_fits(const char *text, size_t min, size_t max)
{
    return text != NULL && strlen(text) >= min && strlen(text) <= max;
}

static bool names_fit(const struct ygg_config *config)
{
    return text_fits(config->device_id, 1, 63) && text_fits(config->model, 0, 31) &&
           text_fits(config->device_class, 0, 31) && text_fits(config->firmware_version, 0, 31) &&
           text_fits(config->slot, 0, 1) && text_fits(config->address, 1, YGG_ADDRESS_BYTES - 1);
}

static bool config_fits(const struct ygg_config *config)
{
    return config->boot_id != 0 && config->features_count <= YGG_FEATURES_MAX && config->backoff_min_ms > 0 &&
           config->backoff_max_ms >= config->backoff_min_ms && config->handshake_timeout_ms > 0 && names_fit(config) &&
           sizes_fit(config);
}

enum ygg_err ygg_agent_init(struct ygg_agent *agent, const struct ygg_config *config, const struct ygg_hal *hal)
{
    if (!config_fits(config) || ygg_document_check(config->document) != YGG_OK) {
        return YGG_ERR_ARGUMENT;
    }
    *agent = (struct ygg_agent){.config = config, .hal = hal, .state = YGG_STATE_BACKOFF, .document = config->document};
    agent->boot_ms = ygg_now(agent);
    agent->deadline_ms = agent->boot_ms + config->start_delay_ms;
    agent->document_bytes = ygg_document_size(config->document);
    ygg_records_init(&agent->events, config->events, config->events_size);
    ygg_records_init(&agent->answers, config->answers, config->answers_size);
    ygg_records_init(&agent->samples, config->samples, config->samples_size);
    enum ygg_err err = ygg_ota_open(agent);
    return err == YGG_OK ? ygg_document_digest(config->document, hal->hash, hal->hash_ctx, agent->digest) : err;
}

const uint8_t *ygg_agent_digest(const struct ygg_agent *agent, uint32_t *size_bytes)
{
    *size_bytes = agent->document_bytes;
    return agent->digest;
}

static uint32_t draw_delay_ms(const struct ygg_agent *agent, uint32_t bound_ms)
{
    uint8_t bytes[sizeof(uint32_t)];
    uint32_t random = UINT32_MAX; /* Without randomness: the whole bound. */

    if (agent->hal->platform->random(agent->hal->platform_ctx, bytes, sizeof bytes) == YGG_OK) {
        memcpy(&random, bytes, sizeof random);
    }
    return ygg_backoff_ms(bound_ms, random);
}

static void back_off(struct ygg_agent *agent, bool lasted, const char *reason)
{
    const struct ygg_config *config = agent->config;

    agent->attempt = lasted ? 0 : agent->attempt;
    uint32_t bound = agent->slow ? config->backoff_max_ms
                                 : ygg_backoff_bound_ms(config->backoff_min_ms, config->backoff_max_ms, agent->attempt);
    uint32_t floor = agent->floor_ms < FLOOR_MS_MAX ? agent->floor_ms : FLOOR_MS_MAX;
    uint64_t delay = (uint64_t)floor + draw_delay_ms(agent, bound);
    const struct ygg_log_field fields[] = {{.key = "reason", .text = reason}, {.key = "retry_in_ms", .number = delay}};

    ygg_log(agent, YGG_LOG_WARNING, "disconnected", fields, 2);
    agent->attempt = agent->attempt < ATTEMPTS_MAX ? (uint8_t)(agent->attempt + 1) : ATTEMPTS_MAX;
    agent->floor_ms = 0;
    agent->slow = false;
    agent->state = YGG_STATE_BACKOFF;
    agent->deadline_ms = ygg_now(agent) + delay;
}

void ygg_disconnect(struct ygg_agent *agent, const char *reason)
{
    bool was_active = agent->was_active;
    bool lasted = was_active && ygg_now(agent) - agent->active_ms > agent->config->backoff_max_ms;

    agent->hal->transport->close(agent->hal->transport_ctx);
    ygg_calls_discard_unsent(agent);
    agent->was_active = false;
    ygg_update_apply(agent); /* Announced by the next Hello. */
    ygg_ota_on_disconnect(agent);
    if (!was_active) {
        agent->redirect[0] = '\0'; /* The redirect did not work: return to the configured address. */
    }
    if (agent->stopping) {
        agent->state = YGG_STATE_STOPPED;
        ygg_log(agent, YGG_LOG_INFO, "stopped", NULL, 0);
        return;
    }
    back_off(agent, lasted, reason);
}

void ygg_close(struct ygg_agent *agent, uint32_t code, const char *reason)
{
    union ygg_body *body = ygg_scratch_body(agent);
    pb_ostream_t size = PB_OSTREAM_SIZING;
    pb_ostream_t out;
    const struct ygg_log_field fields[] = {{.key = "code", .number = code}, {.key = "message", .text = reason}};

    memset(&body->goodbye, 0, sizeof body->goodbye);
    body->goodbye.code = (yggdrasil_device_v1_GoodbyeCode)code;
    memcpy(body->goodbye.message, reason, strlen(reason) + 1);
    /* Goodbye is best effort: if it does not fit, the connection just ends. */
    if (ygg_body_encode(&size, YGG_BODY_GOODBYE, body) &&
        ygg_link_open(agent, YGG_BODY_GOODBYE, size.bytes_written, &out) == YGG_OK &&
        ygg_body_encode(&out, YGG_BODY_GOODBYE, body)) {
        (void)ygg_link_commit(agent, &out);
    }
    ygg_log(agent, agent->stopping ? YGG_LOG_INFO : YGG_LOG_WARNING, "closing", fields, 2);
    agent->state = YGG_STATE_CLOSING;
    agent->deadline_ms = ygg_now(agent) + CLOSE_MS;
}

void ygg_agent_stop(struct ygg_agent *agent)
{
    agent->stopping = true;
    if (agent->state == YGG_STATE_BACKOFF || agent->state == YGG_STATE_CONNECTING) {
        ygg_disconnect(agent, "stopped");
    } else if (agent->state != YGG_STATE_CLOSING && agent->state != YGG_STATE_STOPPED) {
        ygg_close(agent, yggdrasil_device_v1_GoodbyeCode_GOODBYE_CODE_SHUTDOWN, "the device stops");
    }
}

static void start_connecting(struct ygg_agent *agent)
{
    const char *address = agent->redirect[0] != '\0' ? agent->redirect : agent->config->address;
    const struct ygg_log_field field = {.key = "address", .text = address};

    ygg_log(agent, YGG_LOG_INFO, "connecting", &field, 1);
    agent->state = YGG_STATE_CONNECTING;
    agent->deadline_ms = ygg_now(agent) + agent->config->handshake_timeout_ms;
}

static void continue_connecting(struct ygg_agent *agent)
{
    const struct ygg_hal *hal = agent->hal;
    const char *address = agent->redirect[0] != '\0' ? agent->redirect : agent->config->address;
    enum ygg_err err = hal->transport->connect(hal->transport_ctx, address);

    if (err == YGG_ERR_AGAIN) {
        if (ygg_now(agent) >= agent->deadline_ms) {
            ygg_disconnect(agent, "connecting timed out");
        }
        return;
    }
    if (err != YGG_OK) {
        ygg_disconnect(agent, "cannot connect");
        return;
    }
    ygg_link_reset(agent);
    agent->state = YGG_STATE_HELLO;
    agent->deadline_ms = ygg_now(agent) + agent->config->handshake_timeout_ms;
    if (ygg_session_hello(agent) != YGG_OK) {
        ygg_disconnect(agent, "Hello is too large");
    }
}

static bool has_link(const struct ygg_agent *agent)
{
    return agent->state == YGG_STATE_HELLO || agent->state == YGG_STATE_CLOSING || ygg_in_session(agent);
}

static void close_on_error(struct ygg_agent *agent, enum ygg_err err)
{
    switch (err) {
    case YGG_ERR_UNKNOWN:
        ygg_close(agent, yggdrasil_device_v1_GoodbyeCode_GOODBYE_CODE_UNKNOWN_FRAME, "unknown critical frame");
        break;
    case YGG_ERR_STATE:
        ygg_close(agent, yggdrasil_device_v1_GoodbyeCode_GOODBYE_CODE_PROTOCOL_ERROR, "frame out of order");
        break;
    case YGG_ERR_TOO_LONG:
        ygg_close(agent, yggdrasil_device_v1_GoodbyeCode_GOODBYE_CODE_PROTOCOL_ERROR, "frame too long");
        break;
    default:
        ygg_close(agent, yggdrasil_device_v1_GoodbyeCode_GOODBYE_CODE_PROTOCOL_ERROR, "malformed frame");
        break;
    }
}

/* Sends queued and due frames. Returns whether there was progress. */
static bool send_some(struct ygg_agent *agent)
{
    bool produced = ygg_session_produce(agent);
    enum ygg_err err = ygg_link_flush(agent);

    if (err != YGG_OK && err != YGG_ERR_AGAIN) {
        ygg_disconnect(agent, "connection lost");
    } else if (agent->state == YGG_STATE_CLOSING && ygg_link_flushed(agent)) {
        ygg_disconnect(agent, "closed by this device");
    }
    return produced || err == YGG_OK;
}

static bool receive_some(struct ygg_agent *agent)
{
    enum ygg_err err = ygg_link_receive(agent);

    if (err == YGG_ERR_CLOSED) {
        ygg_disconnect(agent, "closed by the bridge");
    } else if (err != YGG_OK && err != YGG_ERR_AGAIN) {
        ygg_disconnect(agent, "connection lost");
    }
    return err == YGG_OK;
}

/* Handles a frame, or receives bytes if none is complete. Returns whether there was progress. A frame is handled only
 * if its reply has room, so a peer that does not read is not read from. */
static bool handle_some(struct ygg_agent *agent)
{
    struct ygg_envelope envelope;

    if (agent->state == YGG_STATE_CLOSING || !ygg_has_room(agent)) {
        return false;
    }
    enum ygg_err err = ygg_link_next(agent, &envelope);
    if (err == YGG_ERR_AGAIN) {
        return receive_some(agent);
    }
    if (err == YGG_OK) {
        err = ygg_session_handle(agent, &envelope);
    }
    if (err != YGG_OK) {
        close_on_error(agent, err);
    }
    return true;
}

static void check_times(struct ygg_agent *agent)
{
    uint64_t now = ygg_now(agent);

    if (agent->state == YGG_STATE_CLOSING) {
        if (now >= agent->deadline_ms) {
            ygg_disconnect(agent, "Goodbye timed out");
        }
    } else if (agent->state != YGG_STATE_ACTIVE && now >= agent->deadline_ms) {
        ygg_close(agent, yggdrasil_device_v1_GoodbyeCode_GOODBYE_CODE_TIMEOUT, "negotiation timed out");
        agent->busy = true;
    } else if (ygg_in_session(agent) && now >= ygg_session_silence_ms(agent)) {
        ygg_close(agent, yggdrasil_device_v1_GoodbyeCode_GOODBYE_CODE_TIMEOUT, "no frame for three heartbeats");
        agent->busy = true;
    }
}

void ygg_agent_step(struct ygg_agent *agent)
{
    agent->busy = false;
    ygg_calls_expire(agent);
    ygg_ota_expire(agent);
    if (agent->state == YGG_STATE_BACKOFF && ygg_now(agent) >= agent->deadline_ms) {
        start_connecting(agent);
    }
    if (agent->state == YGG_STATE_CONNECTING) {
        continue_connecting(agent);
    }
    for (int turn = 0; has_link(agent); turn++) {
        bool sent = send_some(agent);
        bool handled = has_link(agent) && handle_some(agent);

        if (!sent && !handled && has_link(agent)) {
            check_times(agent);
            return;
        }
        if (turn == ROUNDS_PER_STEP_MAX) {
            agent->busy = true; /* A busy peer must not starve the other agents of this thread. */
            return;
        }
    }
}

static uint64_t min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t ygg_agent_wake_ms(const struct ygg_agent *agent)
{
    if (agent->state == YGG_STATE_STOPPED) {
        return UINT64_MAX;
    }
    if (agent->busy) {
        return ygg_now(agent);
    }
    uint64_t wake = min(ygg_calls_wake_ms(agent), ygg_ota_wake_ms(agent));
    if (agent->state != YGG_STATE_ACTIVE) {
        wake = min(wake, agent->deadline_ms);
    }
    if (ygg_in_session(agent)) {
        wake = min(wake, min(ygg_session_ping_ms(agent), ygg_session_silence_ms(agent)));
    }
    if (agent->state == YGG_STATE_ACTIVE && agent->next_document == NULL) {
        wake = min(wake, min(ygg_events_wake_ms(agent), ygg_twin_wake_ms(agent)));
    }
    return wake;
}
