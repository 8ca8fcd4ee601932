/* The streaming encoder of the capability document. Source: protos/yggdrasil/common/v1/capability.proto.
 *
 * A submessage is preceded by its size, so each level is encoded twice: into a counting stream, then into the real one.
 * The nesting is fixed (document, capability, member, parameter, schema): no recursion. */
#include "ygg/document.h"

#include <string.h>

#include "wire/encode.h"

static bool put_schema(pb_ostream_t *out, const struct ygg_schema *schema)
{
    return ygg_put_uint(out, 1, (uint64_t)schema->type) && ygg_put_text(out, 2, schema->unit) &&
           (!schema->has_minimum || ygg_put_double(out, 3, schema->minimum)) &&
           (!schema->has_maximum || ygg_put_double(out, 4, schema->maximum)) &&
           ygg_put_uint(out, 5, schema->max_length);
}

/* Parameter and Property both begin with `name` = 1 and `schema` = 2. */
static bool put_name_and_schema(pb_ostream_t *out, const char *name, const struct ygg_schema *schema)
{
    pb_ostream_t size = PB_OSTREAM_SIZING;

    return put_schema(&size, schema) && ygg_put_text(out, 1, name) && ygg_put_header(out, 2, size.bytes_written) &&
           put_schema(out, schema);
}

static bool put_parameter(pb_ostream_t *out, const struct ygg_parameter *parameter)
{
    return put_name_and_schema(out, parameter->name, &parameter->schema) && ygg_put_flag(out, 3, parameter->optional);
}

static bool put_parameters(pb_ostream_t *out, uint32_t field, const struct ygg_parameter *parameters, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        pb_ostream_t size = PB_OSTREAM_SIZING;

        if (!put_parameter(&size, &parameters[i]) || !ygg_put_header(out, field, size.bytes_written) ||
            !put_parameter(out, &parameters[i])) {
            return false;
        }
    }
    return true;
}

static bool put_property(pb_ostream_t *out, const struct ygg_property *property)
{
    return put_name_and_schema(out, property->name, &property->schema) && ygg_put_flag(out, 3, property->readable) &&
           ygg_put_flag(out, 4, property->writable) && ygg_put_flag(out, 5, property->observable);
}

static bool put_action(pb_ostream_t *out, const struct ygg_action *action)
{
    return ygg_put_text(out, 1, action->name) && put_parameters(out, 2, action->arguments, action->arguments_count) &&
           put_parameters(out, 3, action->results, action->results_count) && ygg_put_flag(out, 4, action->streamed);
}

static bool put_event(pb_ostream_t *out, const struct ygg_event *event)
{
    return ygg_put_text(out, 1, event->name) && put_parameters(out, 2, event->fields, event->fields_count);
}

static bool put_properties(pb_ostream_t *out, const struct ygg_capability *capability)
{
    for (size_t i = 0; i < capability->properties_count; i++) {
        pb_ostream_t size = PB_OSTREAM_SIZING;

        if (!put_property(&size, &capability->properties[i]) || !ygg_put_header(out, 4, size.bytes_written) ||
            !put_property(out, &capability->properties[i])) {
            return false;
        }
    }
    return true;
}

static bool put_actions(pb_ostream_t *out, const struct ygg_capability *capability)
{
    for (size_t i = 0; i < capability->actions_count; i++) {
        pb_ostream_t size = PB_OSTREAM_SIZING;

        if (!put_action(&size, &capability->actions[i]) || !ygg_put_header(out, 5, size.bytes_written) ||
            !put_action(out, &capability->actions[i])) {
            return false;
        }
    }
    return true;
}

static bool put_events(pb_ostream_t *out, const struct ygg_capability *capability)
{
    for (size_t i = 0; i < capability->events_count; i++) {
        pb_ostream_t size = PB_OSTREAM_SIZING;

        if (!put_event(&size, &capability->events[i]) || !ygg_put_header(out, 6, size.bytes_written) ||
            !put_event(out, &capability->events[i])) {
            return false;
        }
    }
    return true;
}

static bool put_capability(pb_ostream_t *out, const struct ygg_capability *capability)
{
    return ygg_put_text(out, 1, capability->id) && ygg_put_text(out, 2, capability->type) &&
           ygg_put_uint(out, 3, capability->version) && put_properties(out, capability) &&
           put_actions(out, capability) && put_events(out, capability);
}

static bool put_document(pb_ostream_t *out, const struct ygg_document *document)
{
    for (size_t i = 0; i < document->count; i++) {
        pb_ostream_t size = PB_OSTREAM_SIZING;

        if (!put_capability(&size, &document->capabilities[i]) || !ygg_put_header(out, 1, size.bytes_written) ||
            !put_capability(out, &document->capabilities[i])) {
            return false;
        }
    }
    return true;
}

uint32_t ygg_document_size(const struct ygg_document *document)
{
    pb_ostream_t size = PB_OSTREAM_SIZING;

    return put_document(&size, document) ? (uint32_t)size.bytes_written : 0;
}

/* State of a stream that skips `skip` bytes, keeps `room` bytes and counts the rest. */
struct window {
    uint8_t *out;
    size_t skip;
    size_t room;
};

static bool window_write(pb_ostream_t *stream, const pb_byte_t *bytes, size_t count)
{
    struct window *window = stream->state;
    size_t skipped = count < window->skip ? count : window->skip;
    size_t kept = count - skipped < window->room ? count - skipped : window->room;

    memcpy(window->out, bytes + skipped, kept);
    window->out += kept;
    window->skip -= skipped;
    window->room -= kept;
    return true;
}

enum ygg_err ygg_document_read(const struct ygg_document *document, uint32_t offset, uint8_t *out, size_t length)
{
    struct window window = {.out = out, .skip = offset, .room = length};
    pb_ostream_t stream = {.callback = window_write, .state = &window, .max_size = SIZE_MAX};

    return put_document(&stream, document) && window.room == 0 ? YGG_OK : YGG_ERR_ARGUMENT;
}

struct hashing {
    const struct ygg_hash *hash;
    void *ctx;
};

static bool hash_write(pb_ostream_t *stream, const pb_byte_t *bytes, size_t count)
{
    struct hashing *hashing = stream->state;

    return hashing->hash->update(hashing->ctx, bytes, count) == YGG_OK;
}

enum ygg_err ygg_document_digest(const struct ygg_document *document, const struct ygg_hash *hash, void *hash_ctx,
                                 uint8_t digest[32])
{
    struct hashing hashing = {.hash = hash, .ctx = hash_ctx};
    pb_ostream_t stream = {.callback = hash_write, .state = &hashing, .max_size = SIZE_MAX};

    if (hash->begin(hash_ctx) != YGG_OK || !put_document(&stream, document) ||
        hash->finish(hash_ctx, digest) != YGG_OK) {
        return YGG_ERR_IO;
    }
    return YGG_OK;
}
