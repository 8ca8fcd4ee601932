/* Checks calls against the capability tables. The bridge checks them against the contract too; the device does not rely
 * on that. Pure: no state, no I/O. */
#include <math.h>

#include "core/internal.h"

enum { DEADLINE_MS_MAX = 300000 };

static bool in_range(const struct ygg_schema *schema, double number)
{
    return isfinite(number) && (!schema->has_minimum || number >= schema->minimum) &&
           (!schema->has_maximum || number <= schema->maximum);
}

bool ygg_value_matches(const struct ygg_schema *schema, const struct ygg_value *value)
{
    size_t max = schema->max_length == 0 ? YGG_VALUE_BYTES_MAX : schema->max_length;
    bool bytes = schema->type == YGG_TYPE_STRING || schema->type == YGG_TYPE_BYTES;

    return value->type == schema->type && (!bytes || value->as.bytes.length <= max);
}

static enum ygg_status check_length(const struct ygg_schema *schema, size_t length, const char **reason)
{
    size_t max = schema->max_length == 0 ? YGG_VALUE_BYTES_MAX : schema->max_length;

    *reason = "argument too long";
    return length <= max ? YGG_STATUS_OK : YGG_STATUS_INVALID_ARGUMENT;
}

/* Bounds are exact for integers up to 2^53, as capability.proto states. */
enum ygg_status ygg_value_check(const struct ygg_schema *schema, struct ygg_value *value, const char **reason)
{
    if (schema->type == YGG_TYPE_DOUBLE && value->type == YGG_TYPE_INT) {
        *value = ygg_double((double)value->as.integer);
    }
    *reason = "argument of wrong type";
    if (schema->type != value->type) {
        return YGG_STATUS_INVALID_ARGUMENT;
    }
    if (value->type == YGG_TYPE_STRING || value->type == YGG_TYPE_BYTES) {
        return check_length(schema, value->as.bytes.length, reason);
    }
    *reason = "argument out of range";
    if ((value->type == YGG_TYPE_INT && !in_range(schema, (double)value->as.integer)) ||
        (value->type == YGG_TYPE_DOUBLE && !in_range(schema, value->as.number))) {
        return YGG_STATUS_INVALID_ARGUMENT;
    }
    return YGG_STATUS_OK;
}

/* Stores the arguments by index. Their indexes ascend, which rules out duplicates. */
static bool place_arguments(const yggdrasil_device_v1_Invoke *invoke, size_t count, struct ygg_call *call)
{
    size_t next = 0;

    for (size_t i = 0; i < invoke->arguments_count; i++) {
        const yggdrasil_device_v1_Argument *argument = &invoke->arguments[i];

        if (argument->index < next || argument->index >= count || !argument->has_value ||
            !ygg_value_from_link(&argument->value, &call->arguments[argument->index])) {
            return false;
        }
        next = argument->index + 1U;
    }
    return true;
}

static enum ygg_status check_action(const struct ygg_action *action, const yggdrasil_device_v1_Invoke *invoke,
                                    struct ygg_call *call, const char **reason)
{
    *reason = "argument unknown or out of order";
    if (!place_arguments(invoke, action->arguments_count, call)) {
        return YGG_STATUS_INVALID_ARGUMENT;
    }
    for (size_t i = 0; i < action->arguments_count; i++) {
        const struct ygg_parameter *parameter = &action->arguments[i];

        if (call->arguments[i].type == YGG_TYPE_NONE) {
            if (!parameter->optional) {
                *reason = "argument missing";
                return YGG_STATUS_INVALID_ARGUMENT;
            }
        } else if (ygg_value_check(&parameter->schema, &call->arguments[i], reason) != YGG_STATUS_OK) {
            return YGG_STATUS_INVALID_ARGUMENT;
        }
    }
    return YGG_STATUS_OK;
}

static enum ygg_status check_read(const struct ygg_property *property, const yggdrasil_device_v1_Invoke *invoke,
                                  const char **reason)
{
    *reason = "property cannot be read";
    if (!property->readable) {
        return YGG_STATUS_NOT_ALLOWED;
    }
    *reason = "a read takes no arguments";
    return invoke->arguments_count == 0 ? YGG_STATUS_OK : YGG_STATUS_INVALID_ARGUMENT;
}

static enum ygg_status check_write(const struct ygg_property *property, const yggdrasil_device_v1_LinkValue *value,
                                   struct ygg_value *out, const char **reason)
{
    *reason = "property cannot be written";
    if (!property->writable) {
        return YGG_STATUS_NOT_ALLOWED;
    }
    *reason = "a write takes argument 0 only";
    if (value == NULL || !ygg_value_from_link(value, out)) {
        return YGG_STATUS_INVALID_ARGUMENT;
    }
    return ygg_value_check(&property->schema, out, reason);
}

/* Returns the value of a write; NULL unless it has exactly argument 0. */
static const yggdrasil_device_v1_LinkValue *only_value(const yggdrasil_device_v1_Invoke *invoke)
{
    const yggdrasil_device_v1_Argument *argument = &invoke->arguments[0];

    return invoke->arguments_count == 1 && argument->index == 0 && argument->has_value ? &argument->value : NULL;
}

static enum ygg_status check_member(const struct ygg_capability *capability, const yggdrasil_device_v1_Invoke *invoke,
                                    struct ygg_call *call, const char **reason)
{
    switch (call->operation) {
    case YGG_OPERATION_READ:
    case YGG_OPERATION_WRITE:
        *reason = "no such property";
        if (invoke->member >= capability->properties_count) {
            return YGG_STATUS_NOT_FOUND;
        }
        return call->operation == YGG_OPERATION_READ
                   ? check_read(&capability->properties[invoke->member], invoke, reason)
                   : check_write(&capability->properties[invoke->member], only_value(invoke), &call->arguments[0],
                                 reason);
    case YGG_OPERATION_ACTION:
        *reason = "no such action";
        if (invoke->member >= capability->actions_count) {
            return YGG_STATUS_NOT_FOUND;
        }
        return check_action(&capability->actions[invoke->member], invoke, call, reason);
    }
    *reason = "no such operation";
    return YGG_STATUS_INVALID_ARGUMENT;
}

enum ygg_status ygg_call_check(const struct ygg_document *document, const yggdrasil_device_v1_Invoke *invoke,
                               struct ygg_call *call, const char **reason)
{
    *reason = "no such capability";
    if (invoke->capability >= document->count) {
        return YGG_STATUS_NOT_FOUND;
    }
    *reason = "deadline out of bounds";
    if (invoke->deadline_ms == 0 || invoke->deadline_ms > DEADLINE_MS_MAX) {
        return YGG_STATUS_INVALID_ARGUMENT;
    }
    *call = (struct ygg_call){
        .deadline_ms = invoke->deadline_ms,
        .operation = (enum ygg_operation)invoke->operation,
        .capability = (uint8_t)invoke->capability,
    };
    enum ygg_status status = check_member(&document->capabilities[invoke->capability], invoke, call, reason);
    if (status == YGG_STATUS_OK) {
        call->member = (uint8_t)invoke->member;
    }
    return status;
}

enum ygg_status ygg_write_check(const struct ygg_document *document, uint32_t capability, uint32_t property,
                                const yggdrasil_device_v1_LinkValue *value, struct ygg_call *call)
{
    const char *reason = NULL; /* A TwinReport carries no reason. */

    if (capability >= document->count || property >= document->capabilities[capability].properties_count) {
        return YGG_STATUS_NOT_FOUND;
    }
    *call = (struct ygg_call){
        .operation = YGG_OPERATION_WRITE,
        .capability = (uint8_t)capability,
        .member = (uint8_t)property,
    };
    return check_write(&document->capabilities[capability].properties[property], value, &call->arguments[0], &reason);
}
