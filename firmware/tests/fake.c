#include "tests/fake.h"

#include <pb_decode.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ports/posix/platform.h"

enum { HEARTBEAT_MS = 1000 };

static void stop(const char *why)
{
    (void)fprintf(stderr, "the test itself is broken: %s\n", why);
    abort();
}

static uint64_t fake_now(void *ctx)
{
    return ((struct fake *)ctx)->now_ms;
}

/* xorshift64*: repeatable and well spread. */
static enum ygg_err fake_random(void *ctx, uint8_t *out, size_t size)
{
    struct fake *fake = ctx;

    for (size_t i = 0; i < size; i++) {
        fake->random ^= fake->random >> 12U;
        fake->random ^= fake->random << 25U;
        fake->random ^= fake->random >> 27U;
        out[i] = (uint8_t)((fake->random * UINT64_C(0x2545F4914F6CDD1D)) >> 56U);
    }
    return fake->random_fails ? YGG_ERR_IO : YGG_OK;
}

static void fake_log(void *ctx, enum ygg_log_level level, const char *event, const struct ygg_log_field *fields,
                     size_t count)
{
    struct fake *fake = ctx;

    (void)level;
    (void)fields;
    (void)count;
    (void)snprintf(fake->last_event, sizeof fake->last_event, "%s", event);
}

static const struct ygg_platform platform = {.now_ms = fake_now, .random = fake_random, .log = fake_log};

static enum ygg_err fake_connect(void *ctx, const char *address)
{
    struct fake *fake = ctx;

    (void)snprintf(fake->address, sizeof fake->address, "%s", address);
    if (fake->connect_result == YGG_OK) {
        fake->connected = true;
        fake->connects++;
    }
    return fake->connect_result;
}

static int32_t fake_read(void *ctx, uint8_t *buffer, size_t size)
{
    struct fake *fake = ctx;
    size_t given = fake->in_end - fake->in_read;

    if (!fake->connected) {
        stop("read without a connection");
    }
    given = given < size ? given : size;
    given = fake->read_max != 0 && given > fake->read_max ? fake->read_max : given;
    if (given == 0) {
        return fake->at_end;
    }
    memcpy(buffer, fake->in + fake->in_read, given);
    fake->in_read += given;
    return (int32_t)given;
}

static int32_t fake_write(void *ctx, const uint8_t *data, size_t size)
{
    struct fake *fake = ctx;
    size_t taken = size < fake->write_room ? size : fake->write_room;

    if (!fake->connected) {
        stop("write without a connection");
    }
    taken = fake->write_max != 0 && taken > fake->write_max ? fake->write_max : taken;
    if (taken == 0) {
        return YGG_ERR_AGAIN;
    }
    if (fake->out_end + taken > sizeof fake->out) {
        stop("the test does not drain");
    }
    memcpy(fake->out + fake->out_end, data, taken);
    fake->out_end += taken;
    fake->write_room -= taken;
    return (int32_t)taken;
}

static void fake_close(void *ctx)
{
    struct fake *fake = ctx;

    fake->connected = false;
    fake->in_read = 0;
    fake->in_end = 0;
    fake->at_end = YGG_ERR_AGAIN;
}

static const struct ygg_transport transport = {
    .connect = fake_connect, .read = fake_read, .write = fake_write, .close = fake_close};

static enum ygg_err fake_call(void *ctx, const struct ygg_call *call, struct ygg_answer *answer)
{
    struct fake *fake = ctx;

    const struct ygg_value *argument = &call->arguments[0];

    fake->last_call = *call;
    if (call->operation == YGG_OPERATION_WRITE) {
        fake->last_write = *call;
        if (argument->type == YGG_TYPE_STRING) {
            memcpy(fake->last_text, argument->as.bytes.data, argument->as.bytes.length);
        }
    }
    if (fake->driver_result != YGG_OK) {
        return fake->driver_result;
    }
    if (fake->canned.status != 0) {
        *answer = fake->canned;
        return YGG_OK;
    }
    return ygg_sim_driver.call(&fake->board, call, answer);
}

static const struct ygg_driver driver = {.call = fake_call};

void fake_init(struct fake *fake)
{
    memset(fake->in, 0, sizeof fake->in);
    memset(fake->out, 0, sizeof fake->out);
    fake_reset(fake);
}

void fake_reset(struct fake *fake)
{
    memset(fake, 0, offsetof(struct fake, in));
    fake->now_ms = 1000;
    fake->random = 88172645463325252U;
    fake->write_room = SIZE_MAX;
    fake->at_end = YGG_ERR_AGAIN;
    fake->hash = EVP_MD_CTX_new();
    ygg_sim_init(&fake->board, &platform, fake);
    fake->board.agent = &fake->agent;
    fake->hal = (struct ygg_hal){.transport = &transport,
                                 .hash = &posix_hash,
                                 .platform = &platform,
                                 .driver = &driver,
                                 .transport_ctx = fake,
                                 .hash_ctx = fake->hash,
                                 .platform_ctx = fake,
                                 .driver_ctx = fake};
    fake->config = (struct ygg_config){.device_id = "porch-1",
                                       .model = "sim-board",
                                       .device_class = "sim",
                                       .firmware_version = "1.0.0",
                                       .slot = "A",
                                       .address = "bridge:7443",
                                       .boot_id = 0x1122334455667788U,
                                       .document = &ygg_sim_document,
                                       .rx = fake->rx,
                                       .rx_size = sizeof fake->rx,
                                       .tx = fake->tx,
                                       .tx_size = sizeof fake->tx,
                                       .events = fake->events,
                                       .events_size = sizeof fake->events,
                                       .answers = fake->answers,
                                       .answers_size = sizeof fake->answers,
                                       .samples = fake->samples,
                                       .samples_size = sizeof fake->samples,
                                       .scratch = &fake->scratch,
                                       .rx_record_bytes = 4096,
                                       .backoff_min_ms = 100,
                                       .backoff_max_ms = 8000,
                                       .handshake_timeout_ms = 5000};
}

enum ygg_err fake_start(struct fake *fake)
{
    return ygg_agent_init(&fake->agent, &fake->config, &fake->hal);
}

void fake_free(struct fake *fake)
{
    EVP_MD_CTX_free(fake->hash);
    fake->hash = NULL;
}

void fake_feed(struct fake *fake, const void *bytes, size_t size)
{
    if (fake->in_read == fake->in_end) {
        fake->in_read = 0;
        fake->in_end = 0;
    }
    if (fake->in_end + size > sizeof fake->in) {
        stop("too much to feed");
    }
    memcpy(fake->in + fake->in_end, bytes, size);
    fake->in_end += size;
}

void fake_send_raw(struct fake *fake, uint32_t number, const void *body, size_t size)
{
    uint8_t head[16];
    pb_ostream_t out = pb_ostream_from_buffer(head, sizeof head);

    if (!ygg_envelope_put(&out, number, size)) {
        stop("envelope");
    }
    fake_feed(fake, head, out.bytes_written);
    fake_feed(fake, body, size);
}

void fake_send(struct fake *fake, uint32_t number, const pb_msgdesc_t *fields, const void *message)
{
    static uint8_t body[FAKE_FRAME_BYTES];
    pb_ostream_t out = pb_ostream_from_buffer(body, sizeof body);

    if (!pb_encode(&out, fields, message)) {
        stop("the message cannot be encoded");
    }
    fake_send_raw(fake, number, body, out.bytes_written);
}

bool fake_take(struct fake *fake, struct ygg_envelope *envelope)
{
    const uint8_t *data = fake->out + fake->out_taken;
    struct ygg_frame frame = {0};

    if (ygg_frame_find(data, fake->out_end - fake->out_taken, YGG_FRAME_BYTES_MAX, &frame) != YGG_OK ||
        ygg_envelope_open(data + frame.offset, frame.length, envelope) != YGG_OK) {
        return false;
    }
    fake->out_taken += frame.offset + frame.length;
    return true;
}

static bool decode(const struct ygg_envelope *envelope, const pb_msgdesc_t *fields, void *message)
{
    pb_istream_t in = pb_istream_from_buffer(envelope->body, envelope->length);

    return pb_decode(&in, fields, message);
}

bool fake_take_message(struct fake *fake, uint32_t number, const pb_msgdesc_t *fields, void *message)
{
    struct ygg_envelope envelope;

    return fake_take(fake, &envelope) && envelope.number == number && decode(&envelope, fields, message);
}

bool fake_find_message(struct fake *fake, uint32_t number, const pb_msgdesc_t *fields, void *message)
{
    struct ygg_envelope envelope;

    while (fake_take(fake, &envelope)) {
        if (envelope.number == number) {
            return decode(&envelope, fields, message);
        }
    }
    return false;
}

void fake_drain(struct fake *fake)
{
    fake->out_end = 0;
    fake->out_taken = 0;
}

void fake_step(struct fake *fake)
{
    do {
        ygg_agent_step(&fake->agent);
    } while (ygg_agent_wake_ms(&fake->agent) <= fake->now_ms);
}

void fake_run_until(struct fake *fake, uint64_t until_ms)
{
    for (;;) {
        fake_step(fake);
        uint64_t wake = ygg_agent_wake_ms(&fake->agent);

        if (wake > until_ms) {
            fake->now_ms = until_ms;
            return;
        }
        fake->now_ms = wake;
    }
}

yggdrasil_device_v1_Welcome fake_welcome(bool pages)
{
    return (yggdrasil_device_v1_Welcome){
        .protocol = 1,
        .session_id = "s-1",
        .heartbeat_ms = HEARTBEAT_MS,
        .device_rx_frame_bytes = FAKE_FRAME_BYTES,
        .device_tx_frame_bytes = FAKE_FRAME_BYTES,
        .page_bytes = 300,
        .send_capabilities = pages,
        .calls_in_flight = 4,
        .event_window = 1000,
    };
}

static void choose_features(const struct fake *fake, yggdrasil_device_v1_Welcome *welcome)
{
    welcome->features_count = fake->config.features_count;
    for (size_t i = 0; i < fake->config.features_count; i++) {
        (void)snprintf(welcome->features[i].name, sizeof welcome->features[i].name, "%s",
                       fake->config.features[i].name);
        welcome->features[i].version = fake->features_refused ? 0 : fake->config.features[i].max_version;
    }
}

void fake_negotiate(struct fake *fake, uint64_t stored_sequence)
{
    yggdrasil_device_v1_Welcome welcome = fake_welcome(false);
    const yggdrasil_device_v1_ContractNotice contract = {.revision = 1, .accepted = 6, .refused = 1};

    if (fake->agent.state == YGG_STATE_BACKOFF && fake->agent.deadline_ms > fake->now_ms) {
        fake->now_ms = fake->agent.deadline_ms;
    }
    fake_step(fake);
    welcome.last_event_sequence = stored_sequence;
    welcome.telemetry_credit = fake->credit;
    welcome.device_tx_frame_bytes = fake->frame_bytes != 0 ? fake->frame_bytes : welcome.device_tx_frame_bytes;
    choose_features(fake, &welcome);
    fake_send(fake, YGG_BODY_WELCOME, yggdrasil_device_v1_Welcome_fields, &welcome);
    fake_step(fake);
    if (fake->agent.state != YGG_STATE_CONTRACT) {
        stop("the device did not take the Welcome");
    }
    fake_send(fake, YGG_BODY_CONTRACT, yggdrasil_device_v1_ContractNotice_fields, &contract);
    fake_step(fake);
    if (fake->agent.state != YGG_STATE_ACTIVE) {
        stop("the device did not become active");
    }
}

void fake_activate(struct fake *fake)
{
    fake_negotiate(fake, 0);
    fake_drain(fake);
}

void fake_invoke(struct fake *fake, const char *call_id, uint32_t capability, enum ygg_operation operation,
                 uint32_t member, size_t count, const int64_t *arguments)
{
    yggdrasil_device_v1_Invoke invoke = {
        .capability = capability,
        .operation = (yggdrasil_device_v1_Operation)operation,
        .member = member,
        .arguments_count = (pb_size_t)count,
        .deadline_ms = 1000,
    };

    (void)snprintf(invoke.call_id, sizeof invoke.call_id, "%s", call_id);
    for (size_t i = 0; i < count; i++) {
        invoke.arguments[i].index = (uint32_t)i;
        invoke.arguments[i].has_value = true;
        invoke.arguments[i].value.which_kind = yggdrasil_device_v1_LinkValue_integer_tag;
        invoke.arguments[i].value.kind.integer = arguments[i];
    }
    fake_send(fake, YGG_BODY_INVOKE, yggdrasil_device_v1_Invoke_fields, &invoke);
}

yggdrasil_device_v1_Result fake_result(struct fake *fake)
{
    yggdrasil_device_v1_Result result = yggdrasil_device_v1_Result_init_zero;

    fake_step(fake);
    if (!fake_take_message(fake, YGG_BODY_RESULT, yggdrasil_device_v1_Result_fields, &result)) {
        return (yggdrasil_device_v1_Result)yggdrasil_device_v1_Result_init_zero;
    }
    return result;
}
