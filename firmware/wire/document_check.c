/* The rules of a capability document, as the bridge checks them (docs/reference/protocol.md, "CapabilityDocument"), so that a
 * mistake in a board's tables is found at init and not by a capability missing from the contract. Of a unit only the
 * characters and the length are checked: the table of UCUM units belongs to the bridge. Source:
 * protos/yggdrasil/common/v1/capability.proto. */
#include <stddef.h>
#include <string.h>

#include "ygg/document.h"

_Static_assert(offsetof(struct ygg_capability, id) == 0 && offsetof(struct ygg_property, name) == 0 &&
                   offsetof(struct ygg_action, name) == 0 && offsetof(struct ygg_event, name) == 0 &&
                   offsetof(struct ygg_parameter, name) == 0,
               "names_fit");

enum { NAME_MAX = 32, TYPE_MAX = 63, UNIT_MAX = 15 };

enum { MANTISSA_BITS = 52, EXPONENT_MASK = 0x7FF, EXPONENT_OF_2_63 = 1023 + 63 };

/* -2^63 as a double. */
static const uint64_t LEAST_INT = UINT64_C(0xC3E0000000000000);

static bool is_lower(char letter)
{
    return letter >= 'a' && letter <= 'z';
}

/* `[a-z][a-z0-9_]{0,31}`, of that length. */
static bool name_fits(const char *name, size_t length)
{
    if (length == 0 || length > NAME_MAX || !is_lower(name[0])) {
        return false;
    }
    for (size_t i = 1; i < length; i++) {
        if (!is_lower(name[i]) && !(name[i] >= '0' && name[i] <= '9') && name[i] != '_') {
            return false;
        }
    }
    return true;
}

/* Whether there are at most `max` members, with valid and unique names. The name is the first field of each member. */
static bool names_fit(const void *members, size_t stride, size_t count, size_t max)
{
    const char *names[YGG_CAPABILITIES_MAX];

    if (count > max) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        memcpy(&names[i], (const uint8_t *)members + i * stride, sizeof names[i]);
        if (names[i] == NULL || !name_fits(names[i], strlen(names[i]))) {
            return false;
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(names[k], names[i]) == 0) {
                return false;
            }
        }
    }
    return true;
}

/* Two or more names joined by dots. */
static bool is_type(const char *type)
{
    size_t names = 0;

    if (type == NULL || strlen(type) > TYPE_MAX) {
        return false;
    }
    for (const char *rest = type;; names++) {
        size_t length = strcspn(rest, ".");

        if (!name_fits(rest, length)) {
            return false;
        }
        if (rest[length] == '\0') {
            return names > 0;
        }
        rest += length + 1;
    }
}

static bool unit_fits(const char *unit)
{
    if (unit == NULL) {
        return true;
    }
    size_t length = 0;

    while (unit[length] > ' ' && unit[length] <= '~') {
        length++;
    }
    return length <= UNIT_MAX && unit[length] == '\0';
}

/* Whether a bound is finite and, for INT, a whole number in the range of int64. Works on bits, for boards without an
 * FPU. */
static bool bound_fits(enum ygg_type type, double bound)
{
    uint64_t bits = 0;

    memcpy(&bits, &bound, sizeof bits);
    uint32_t exponent = (uint32_t)(bits >> MANTISSA_BITS) & EXPONENT_MASK;
    if (type == YGG_TYPE_DOUBLE) {
        return exponent != EXPONENT_MASK;
    }
    return type == YGG_TYPE_INT && (exponent < EXPONENT_OF_2_63 ? (double)(int64_t)bound == bound : bits == LEAST_INT);
}

static bool schema_fits(const struct ygg_schema *schema)
{
    bool bytes = schema->type == YGG_TYPE_STRING || schema->type == YGG_TYPE_BYTES;

    return schema->type >= YGG_TYPE_BOOL && schema->type <= YGG_TYPE_BYTES && unit_fits(schema->unit) &&
           schema->max_length <= (bytes ? YGG_VALUE_BYTES_MAX : 0) &&
           (!schema->has_minimum || bound_fits(schema->type, schema->minimum)) &&
           (!schema->has_maximum || bound_fits(schema->type, schema->maximum)) &&
           (!schema->has_minimum || !schema->has_maximum || schema->minimum <= schema->maximum);
}

static bool parameters_fit(const struct ygg_parameter *parameters, size_t count)
{
    if (!names_fit(parameters, sizeof *parameters, count, YGG_ARGUMENTS_MAX)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!schema_fits(&parameters[i].schema)) {
            return false;
        }
    }
    return true;
}

static bool capability_fits(const struct ygg_capability *capability)
{
    if (!is_type(capability->type) || capability->version == 0 ||
        !names_fit(capability->properties, sizeof *capability->properties, capability->properties_count,
                   YGG_MEMBERS_MAX) ||
        !names_fit(capability->actions, sizeof *capability->actions, capability->actions_count, YGG_MEMBERS_MAX) ||
        !names_fit(capability->events, sizeof *capability->events, capability->events_count, YGG_MEMBERS_MAX)) {
        return false;
    }
    for (size_t i = 0; i < capability->properties_count; i++) {
        const struct ygg_property *property = &capability->properties[i];

        if (!schema_fits(&property->schema) || !(property->readable || property->writable || property->observable)) {
            return false;
        }
    }
    for (size_t i = 0; i < capability->actions_count; i++) {
        const struct ygg_action *action = &capability->actions[i];

        if (!parameters_fit(action->arguments, action->arguments_count) ||
            !parameters_fit(action->results, action->results_count)) {
            return false;
        }
    }
    for (size_t i = 0; i < capability->events_count; i++) {
        if (!parameters_fit(capability->events[i].fields, capability->events[i].fields_count)) {
            return false;
        }
    }
    return true;
}

enum ygg_err ygg_document_check(const struct ygg_document *document)
{
    if (!names_fit(document->capabilities, sizeof *document->capabilities, document->count, YGG_CAPABILITIES_MAX)) {
        return YGG_ERR_ARGUMENT;
    }
    for (size_t i = 0; i < document->count; i++) {
        if (!capability_fits(&document->capabilities[i])) {
            return YGG_ERR_ARGUMENT;
        }
    }
    uint32_t size = ygg_document_size(document);
    bool whole = document->count == 0 || size > 0; /* A document without capabilities has no bytes. */

    return whole && size <= YGG_DOCUMENT_BYTES_MAX ? YGG_OK : YGG_ERR_ARGUMENT;
}
