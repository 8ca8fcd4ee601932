/* Handles frames and queues due ones. The states are drawn in agent.c.
 *
 *     frame                allowed in                  effect
 *     Welcome              HELLO                       PAGES, or CONTRACT if no pages are requested
 *     Refused              HELLO, PAGES, CONTRACT      closes the link, reconnects after retry_after_ms
 *     ContractNotice       CONTRACT, ACTIVE, UPDATING  ACTIVE
 *     CapabilityUpdateAck  UPDATING, once              sends pages if requested; no Invoke from now on
 *     Invoke               ACTIVE, UPDATING            uses the document of the contract in force
 *     EventAck             ACTIVE, UPDATING
 *     Credit               ACTIVE, UPDATING            more telemetry, with the feature
 *     TwinDelta            ACTIVE, UPDATING            uses the document of the contract in force, with the feature
 *     Certificate…         ACTIVE, UPDATING            with the feature; through ygg_config.certificate, which links it
 *     Ota…                 ACTIVE, UPDATING            with the feature
 *     Ping, Pong           PAGES, CONTRACT, ACTIVE, UPDATING
 *     Goodbye              any                         closes the link
 *
 * Any other frame is out of order and ends the session. */
#include <string.h>

#include "core/internal.h"
#include "core/link.h"
#include "ygg/certificate.h"
#include "ygg/document.h"

enum { HEARTBEAT_MS_MIN = 10, HEARTBEAT_MS_MAX = 3600000, SILENT_HEARTBEATS = 3 };

/* Upper bound of the bytes around the data of a CapabilityPage: tag, offset, length, and the frame. */
enum { PAGE_OVERHEAD_BYTES = 24 };

enum ygg_err ygg_session_send(struct ygg_agent *agent, uint32_t number, const union ygg_body *body)
{
    pb_ostream_t size = PB_OSTREAM_SIZING;
    pb_ostream_t out;

    if (!ygg_body_encode(&size, number, body)) {
        return YGG_ERR_ARGUMENT;
    }
    enum ygg_err err = ygg_link_open(agent, number, size.bytes_written, &out);
    if (err != YGG_OK) {
        return err;
    }
    return ygg_body_encode(&out, number, body) ? ygg_link_commit(agent, &out) : YGG_ERR_ARGUMENT;
}

static bool copy_text(char *out, size_t size, const char *text)
{
    size_t length = strlen(text);

    if (length >= size) {
        return false;
    }
    memcpy(out, text, length + 1);
    return true;
}

static bool fill_features(const struct ygg_config *config, yggdrasil_device_v1_Hello *hello)
{
    for (size_t i = 0; i < config->features_count; i++) {
        const struct ygg_feature *feature = &config->features[i];

        hello->features[i].min_version = feature->min_version;
        hello->features[i].max_version = feature->max_version;
        hello->features[i].required = feature->required;
        if (!copy_text(hello->features[i].name, sizeof hello->features[i].name, feature->name)) {
            return false;
        }
    }
    hello->features_count = config->features_count;
    return true;
}

static bool fill_names(const struct ygg_config *config, yggdrasil_device_v1_Hello *hello)
{
    hello->has_hardware = true;
    hello->has_firmware = true;
    return copy_text(hello->device_id, sizeof hello->device_id, config->device_id) &&
           copy_text(hello->hardware.model, sizeof hello->hardware.model, config->model) &&
           copy_text(hello->hardware.device_class, sizeof hello->hardware.device_class, config->device_class) &&
           copy_text(hello->firmware.version, sizeof hello->firmware.version, config->firmware_version) &&
           copy_text(hello->firmware.slot, sizeof hello->firmware.slot, config->slot);
}

enum ygg_err ygg_session_hello(struct ygg_agent *agent)
{
    const struct ygg_config *config = agent->config;
    union ygg_body *body = ygg_scratch_body(agent);
    yggdrasil_device_v1_Hello *hello = &body->hello;

    memset(hello, 0, sizeof *hello);
    hello->protocol_min = YGG_PROTOCOL;
    hello->protocol_max = YGG_PROTOCOL;
    hello->boot_id = config->boot_id;
    hello->has_limits = true;
    hello->limits.rx_frame_bytes = (uint32_t)(config->rx_size - YGG_PREFIX_BYTES);
    hello->limits.tx_frame_bytes = (uint32_t)(config->tx_size - YGG_PREFIX_BYTES);
    hello->limits.calls_in_flight = YGG_CALLS_MAX;
    hello->limits.free_ram_bytes = config->free_ram_bytes;
    hello->limits.rx_record_bytes = config->rx_record_bytes;
    hello->capabilities_size_bytes = agent->document_bytes;
    memcpy(hello->capabilities_digest, agent->digest, sizeof agent->digest);
    if (!fill_names(config, hello) || !fill_features(config, hello)) {
        return YGG_ERR_ARGUMENT;
    }
    return ygg_session_send(agent, YGG_BODY_HELLO, body);
}

static bool features_agree(const struct ygg_config *config, const yggdrasil_device_v1_Welcome *welcome)
{
    if (welcome->features_count != config->features_count) {
        return false;
    }
    for (size_t i = 0; i < config->features_count; i++) {
        const struct ygg_feature *offer = &config->features[i];
        uint32_t version = welcome->features[i].version;
        bool refused = version == 0 && !offer->required;
        bool chosen = version >= offer->min_version && version <= offer->max_version;

        if (strcmp(welcome->features[i].name, offer->name) != 0 || (!refused && !chosen)) {
            return false;
        }
    }
    return true;
}

/* Whether a feature is negotiated: this device offers it and the bridge accepted it. `welcome` agrees with the
 * offers. */
static bool has_feature(const struct ygg_config *config, const yggdrasil_device_v1_Welcome *welcome, const char *name)
{
    for (size_t i = 0; i < config->features_count; i++) {
        if (strcmp(config->features[i].name, name) == 0) {
            return welcome->features[i].version > 0;
        }
    }
    return false;
}

static bool terms_agree(const struct ygg_config *config, const yggdrasil_device_v1_Welcome *welcome)
{
    return welcome->protocol == YGG_PROTOCOL && welcome->session_id[0] != '\0' &&
           welcome->heartbeat_ms >= HEARTBEAT_MS_MIN && welcome->heartbeat_ms <= HEARTBEAT_MS_MAX &&
           welcome->device_rx_frame_bytes <= config->rx_size - YGG_PREFIX_BYTES &&
           welcome->device_tx_frame_bytes >= YGG_FRAME_BYTES_MIN &&
           welcome->device_tx_frame_bytes <= config->tx_size - YGG_PREFIX_BYTES && welcome->event_window > 0 &&
           (!welcome->send_capabilities || welcome->page_bytes > 0) && features_agree(config, welcome);
}

static void enter_contract(struct ygg_agent *agent)
{
    agent->state = YGG_STATE_CONTRACT;
    agent->deadline_ms = ygg_now(agent) + agent->config->handshake_timeout_ms;
}

static enum ygg_err on_welcome(struct ygg_agent *agent, const yggdrasil_device_v1_Welcome *welcome)
{
    if (agent->state != YGG_STATE_HELLO) {
        return YGG_ERR_STATE;
    }
    if (!terms_agree(agent->config, welcome) || ygg_events_resume(agent, welcome->last_event_sequence) != YGG_OK) {
        return YGG_ERR_MALFORMED;
    }
    memcpy(agent->session_id, welcome->session_id, sizeof agent->session_id);
    agent->heartbeat_ms = welcome->heartbeat_ms;
    agent->page_bytes = welcome->page_bytes;
    agent->event_window = welcome->event_window;
    agent->telemetry = has_feature(agent->config, welcome, "telemetry");
    agent->twin = has_feature(agent->config, welcome, "twin");
    agent->updates = has_feature(agent->config, welcome, "capability_update");
    agent->ota = has_feature(agent->config, welcome, "ota") && agent->config->ota != NULL;
    agent->certificate = agent->config->certificate != NULL && has_feature(agent->config, welcome, "certificate");
    agent->credit = 0;
    ygg_telemetry_grant(agent, welcome->telemetry_credit);
    agent->page_offset = 0;
    agent->link.tx_limit = welcome->device_tx_frame_bytes;
    agent->deadline_ms = ygg_now(agent) + agent->config->handshake_timeout_ms;
    const struct ygg_log_field fields[] = {
        {.key = "session", .text = agent->session_id},
        {.key = "heartbeat_ms", .number = welcome->heartbeat_ms},
        {.key = "pages", .text = welcome->send_capabilities ? "requested" : "known"},
    };
    ygg_log(agent, YGG_LOG_INFO, "welcome", fields, 3);
    if (welcome->send_capabilities) {
        agent->state = YGG_STATE_PAGES;
    } else {
        enter_contract(agent);
    }
    return YGG_OK;
}

/* Whether the session has a contract. */
static bool is_active(const struct ygg_agent *agent)
{
    return agent->state == YGG_STATE_ACTIVE || agent->state == YGG_STATE_UPDATING;
}

static enum ygg_err on_refused(struct ygg_agent *agent, const yggdrasil_device_v1_Refused *refused)
{
    if (is_active(agent)) {
        return YGG_ERR_STATE;
    }
    const struct ygg_log_field fields[] = {
        {.key = "code", .number = (uint64_t)refused->code},
        {.key = "message", .text = refused->message},
        {.key = "retry_after_ms", .number = refused->retry_after_ms},
    };
    ygg_log(agent, YGG_LOG_WARNING, "refused", fields, 3);
    agent->floor_ms = refused->retry_after_ms;
    if (refused->code != yggdrasil_device_v1_RefusedCode_REFUSED_CODE_UNAVAILABLE) {
        agent->slow = true; /* An early retry would not change the answer. */
    }
    ygg_disconnect(agent, "refused by the bridge");
    return YGG_OK;
}

static void log_refusal(const struct ygg_agent *agent, const yggdrasil_device_v1_CapabilityRefusal *refusal)
{
    const struct ygg_document *document = agent->document;
    bool known = refusal->capability < document->count;
    const struct ygg_log_field fields[] = {
        {.key = "capability", .text = known ? document->capabilities[refusal->capability].id : "?"},
        {.key = "reason", .number = refusal->reason},
        {.key = "message", .text = refusal->message},
    };

    ygg_log(agent, YGG_LOG_WARNING, "capability_refused", fields, 3);
}

static enum ygg_err on_contract(struct ygg_agent *agent, const yggdrasil_device_v1_ContractNotice *contract)
{
    bool updated = agent->state == YGG_STATE_UPDATING && agent->update_answered &&
                   agent->page_offset == agent->next_document_bytes;
    if (agent->state != YGG_STATE_CONTRACT && agent->state != YGG_STATE_ACTIVE && !updated) {
        return YGG_ERR_STATE;
    }
    if (updated) {
        ygg_update_apply(agent);
        agent->state = YGG_STATE_ACTIVE;
    }
    for (size_t i = 0; i < contract->refusals_count; i++) {
        log_refusal(agent, &contract->refusals[i]);
    }
    const struct ygg_log_field fields[] = {
        {.key = "contract", .number = contract->revision},
        {.key = "accepted", .number = contract->accepted},
        {.key = "refused", .number = contract->refused},
    };
    ygg_log(agent, YGG_LOG_INFO, "active", fields, 3);
    if (agent->state == YGG_STATE_CONTRACT) {
        agent->state = YGG_STATE_ACTIVE;
        agent->active_ms = ygg_now(agent);
        agent->was_active = true;
        agent->sessions++;
    }
    ygg_twin_on_contract(agent);
    ygg_ota_on_contract(agent);
    return YGG_OK;
}

static enum ygg_err on_ping(struct ygg_agent *agent, union ygg_body *body)
{
    /* Ping and Pong have the same shape, so the token is already in place. */
    _Static_assert(sizeof(yggdrasil_device_v1_Ping) == sizeof(yggdrasil_device_v1_Pong), "same shape");
    return ygg_in_session(agent) ? ygg_session_send(agent, YGG_BODY_PONG, body) : YGG_ERR_STATE;
}

/* A call may cross the CapabilityUpdate; after CapabilityUpdateAck the bridge holds calls back. */
static enum ygg_err on_invoke(struct ygg_agent *agent, const yggdrasil_device_v1_Invoke *invoke)
{
    bool crossed = agent->state == YGG_STATE_UPDATING && !agent->update_answered;

    return agent->state == YGG_STATE_ACTIVE || crossed ? ygg_calls_handle(agent, invoke) : YGG_ERR_STATE;
}

static enum ygg_err on_credit(struct ygg_agent *agent, const yggdrasil_device_v1_Credit *credit)
{
    if (!is_active(agent)) {
        return YGG_ERR_STATE;
    }
    ygg_telemetry_grant(agent, credit->telemetry);
    return YGG_OK;
}

/* Whether to reconnect slowly: another device uses this id, or the bridge blames this device. */
static bool is_device_fault(yggdrasil_device_v1_GoodbyeCode code)
{
    return code == yggdrasil_device_v1_GoodbyeCode_GOODBYE_CODE_REPLACED ||
           code == yggdrasil_device_v1_GoodbyeCode_GOODBYE_CODE_PROTOCOL_ERROR ||
           code == yggdrasil_device_v1_GoodbyeCode_GOODBYE_CODE_UNKNOWN_FRAME ||
           code == yggdrasil_device_v1_GoodbyeCode_GOODBYE_CODE_FLOOD;
}

/* Sets the address of the next connection. The bridge there is authenticated as any other. */
static void set_redirect(struct ygg_agent *agent, const char *address)
{
    if (ygg_address_is_valid(address)) {
        memcpy(agent->redirect, address, strlen(address) + 1);
    } else if (address[0] != '\0') {
        const struct ygg_log_field field = {.key = "reconnect_to", .text = address};

        ygg_log(agent, YGG_LOG_WARNING, "redirect_ignored", &field, 1);
    }
}

static enum ygg_err on_goodbye(struct ygg_agent *agent, const yggdrasil_device_v1_Goodbye *goodbye)
{
    const struct ygg_log_field fields[] = {
        {.key = "code", .number = (uint64_t)goodbye->code},
        {.key = "message", .text = goodbye->message},
        {.key = "reconnect_after_ms", .number = goodbye->reconnect_after_ms},
        {.key = "reconnect_to", .text = goodbye->reconnect_to},
    };

    ygg_log(agent, YGG_LOG_WARNING, "goodbye", fields, 4);
    agent->floor_ms = goodbye->reconnect_after_ms;
    if (is_device_fault(goodbye->code)) {
        agent->slow = true;
    }
    ygg_disconnect(agent, "the bridge sent Goodbye");
    set_redirect(agent, goodbye->reconnect_to);
    return YGG_OK;
}

enum ygg_err ygg_session_handle(struct ygg_agent *agent, const struct ygg_envelope *envelope)
{
    union ygg_body *body = ygg_scratch_body(agent);

    if (envelope->number == YGG_BODY_OTA_CHUNK) {
        return is_active(agent) ? ygg_ota_on_chunk(agent, envelope) : YGG_ERR_STATE;
    }
    if (envelope->number == YGG_BODY_CERTIFICATE_EXPIRING || envelope->number == YGG_BODY_CERTIFICATE_ISSUED) {
        return is_active(agent) && agent->certificate ? agent->config->certificate->handle(agent, envelope)
                                                      : YGG_ERR_STATE;
    }
    enum ygg_err err = ygg_body_decode(envelope, body);

    if (err != YGG_OK) {
        return err == YGG_ERR_SKIP ? YGG_OK : err;
    }
    switch (envelope->number) {
    case YGG_BODY_WELCOME:
        return on_welcome(agent, &body->welcome);
    case YGG_BODY_REFUSED:
        return on_refused(agent, &body->refused);
    case YGG_BODY_CONTRACT:
        return on_contract(agent, &body->contract);
    case YGG_BODY_INVOKE:
        return on_invoke(agent, &body->invoke);
    case YGG_BODY_CAPABILITY_UPDATE_ACK:
        return ygg_update_on_answer(agent, &body->capability_update_ack);
    case YGG_BODY_EVENT_ACK:
        return is_active(agent) ? ygg_events_acknowledge(agent, body->event_ack.sequence) : YGG_ERR_STATE;
    case YGG_BODY_CREDIT:
        return on_credit(agent, &body->credit);
    case YGG_BODY_TWIN_DELTA:
        return is_active(agent) ? ygg_twin_on_delta(agent, &body->twin_delta) : YGG_ERR_STATE;
    case YGG_BODY_OTA_OFFER:
        return is_active(agent) ? ygg_ota_on_offer(agent, &body->ota_offer) : YGG_ERR_STATE;
    case YGG_BODY_OTA_METADATA:
        return is_active(agent) ? ygg_ota_on_metadata(agent, &body->ota_metadata) : YGG_ERR_STATE;
    case YGG_BODY_OTA_ABORT:
        return is_active(agent) ? ygg_ota_on_abort(agent, &body->ota_abort) : YGG_ERR_STATE;
    case YGG_BODY_PING:
        return on_ping(agent, body);
    case YGG_BODY_PONG:
        return ygg_in_session(agent) ? YGG_OK : YGG_ERR_STATE;
    case YGG_BODY_GOODBYE:
        return on_goodbye(agent, &body->goodbye);
    default:
        return YGG_ERR_UNKNOWN;
    }
}

/* The document that pages are sent of. */
static const struct ygg_document *outgoing_document(const struct ygg_agent *agent, uint32_t *size_bytes)
{
    bool updating = agent->state == YGG_STATE_UPDATING;

    *size_bytes = updating ? agent->next_document_bytes : agent->document_bytes;
    return updating ? agent->next_document : agent->document;
}

static size_t page_length(const struct ygg_agent *agent)
{
    uint32_t size_bytes = 0;
    (void)outgoing_document(agent, &size_bytes);
    size_t length = size_bytes - agent->page_offset;
    size_t max = agent->link.tx_limit - PAGE_OVERHEAD_BYTES;

    length = length < agent->page_bytes ? length : agent->page_bytes;
    return length < max ? length : max;
}

/* Copies the page from ROM into the send buffer. */
static enum ygg_err send_page(struct ygg_agent *agent)
{
    size_t length = page_length(agent);
    uint32_t size_bytes = 0;
    const struct ygg_document *document = outgoing_document(agent, &size_bytes);
    pb_ostream_t head_size = PB_OSTREAM_SIZING;
    pb_ostream_t out;

    if (!ygg_page_encode_head(&head_size, agent->page_offset, length)) {
        return YGG_ERR_ARGUMENT;
    }
    enum ygg_err err = ygg_link_open(agent, YGG_BODY_CAPABILITY_PAGE, head_size.bytes_written + length, &out);
    if (err != YGG_OK) {
        return err;
    }
    if (!ygg_page_encode_head(&out, agent->page_offset, length)) {
        return YGG_ERR_ARGUMENT;
    }
    uint8_t *data = agent->config->tx + agent->link.tx_end + out.bytes_written;
    err = ygg_document_read(document, agent->page_offset, data, length);
    if (err != YGG_OK) {
        return err;
    }
    out.bytes_written += length;
    agent->page_offset += (uint32_t)length;
    return ygg_link_commit(agent, &out);
}

static bool produce_pages(struct ygg_agent *agent)
{
    uint32_t size_bytes = 0;
    bool produced = false;

    (void)outgoing_document(agent, &size_bytes);
    while (agent->page_offset < size_bytes && send_page(agent) == YGG_OK) {
        produced = true;
    }
    if (agent->state == YGG_STATE_PAGES && agent->page_offset == size_bytes) {
        enter_contract(agent);
    }
    return produced;
}

static bool produce_ping(struct ygg_agent *agent)
{
    union ygg_body *body = ygg_scratch_body(agent);
    const struct ygg_platform *platform = agent->hal->platform;
    uint8_t token[sizeof body->ping.token] = {0};

    if (ygg_now(agent) < ygg_session_ping_ms(agent)) {
        return false;
    }
    agent->link.last_ping_ms = ygg_now(agent);
    /* Without randomness the token is 0: it only matches Pong to Ping in logs. */
    (void)platform->random(agent->hal->platform_ctx, token, sizeof token);
    memcpy(&body->ping.token, token, sizeof token);
    return ygg_session_send(agent, YGG_BODY_PING, body) == YGG_OK;
}

bool ygg_session_produce(struct ygg_agent *agent)
{
    bool produced = false;

    if (agent->state == YGG_STATE_PAGES) {
        produced = produce_pages(agent);
    }
    if (agent->state == YGG_STATE_UPDATING) {
        bool answered = ygg_calls_produce(agent);

        produced = produce_pages(agent) || answered;
    } else if (agent->state == YGG_STATE_ACTIVE && agent->next_document != NULL) {
        bool answered = ygg_calls_produce(agent);

        produced = ygg_update_produce(agent) || answered;
    } else if (agent->state == YGG_STATE_ACTIVE) {
        bool answered = ygg_calls_produce(agent);
        bool reported = ygg_events_produce(agent);
        bool sampled = ygg_telemetry_produce(agent);
        bool twin_reported = ygg_twin_produce(agent);
        bool updated = ygg_ota_produce(agent);
        bool requested = agent->certificate && agent->config->certificate->produce(agent);

        produced = answered || reported || sampled || twin_reported || updated || requested;
    }
    if (ygg_in_session(agent) && produce_ping(agent)) {
        produced = true;
    }
    return produced;
}

/* A Ping is due when either direction is idle: an idle device would time out at the bridge, an idle bridge may be
 * dead. */
uint64_t ygg_session_ping_ms(const struct ygg_agent *agent)
{
    const struct ygg_link *link = &agent->link;
    uint64_t quiet = link->last_rx_ms < link->last_tx_ms ? link->last_rx_ms : link->last_tx_ms;
    uint64_t since = quiet > link->last_ping_ms ? quiet : link->last_ping_ms;

    return since + agent->heartbeat_ms;
}

uint64_t ygg_session_silence_ms(const struct ygg_agent *agent)
{
    return agent->link.last_rx_ms + (uint64_t)agent->heartbeat_ms * SILENT_HEARTBEATS;
}
