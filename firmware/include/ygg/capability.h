/* The device's capabilities, as constant tables that stay in ROM.
 *
 * Owns the shape of the tables only. Source: protos/yggdrasil/common/v1/capability.proto; each member means the same as
 * the field of that name there. All names are NUL-terminated and must outlive the agent. */
#ifndef YGG_CAPABILITY_H
#define YGG_CAPABILITY_H

#include "ygg/value.h"

enum { YGG_CAPABILITIES_MAX = 32, YGG_MEMBERS_MAX = 16, YGG_DOCUMENT_BYTES_MAX = 16384 };

struct ygg_schema {
    enum ygg_type type;
    const char *unit; /* UCUM code; NULL: no unit. */
    bool has_minimum;
    bool has_maximum;
    double minimum;      /* In `unit`. */
    double maximum;      /* In `unit`. */
    uint16_t max_length; /* STRING and BYTES, in bytes, 1 to 64; 0 means 64. */
};

struct ygg_parameter {
    const char *name;
    struct ygg_schema schema;
    bool optional; /* The argument may be omitted; results and fields are always sent. */
};

struct ygg_property {
    const char *name;
    struct ygg_schema schema;
    bool readable;
    bool writable;
    bool observable;
};

struct ygg_action {
    const char *name;
    const struct ygg_parameter *arguments;
    const struct ygg_parameter *results;
    uint8_t arguments_count; /* At most YGG_ARGUMENTS_MAX. */
    uint8_t results_count;   /* At most YGG_ARGUMENTS_MAX. */
    bool streamed;           /* May answer more than once. */
};

struct ygg_event {
    const char *name;
    const struct ygg_parameter *fields;
    uint8_t fields_count; /* At most YGG_ARGUMENTS_MAX. */
};

struct ygg_capability {
    const char *id;
    const char *type;
    uint32_t version; /* 1 and up. */
    const struct ygg_property *properties;
    const struct ygg_action *actions;
    const struct ygg_event *events;
    uint8_t properties_count; /* At most YGG_MEMBERS_MAX, as the next two. */
    uint8_t actions_count;
    uint8_t events_count;
};

struct ygg_document {
    const struct ygg_capability *capabilities;
    uint8_t count; /* 0 to YGG_CAPABILITIES_MAX. */
};

/* For tables: the number of elements of an array, for a uint8_t member. */
#define YGG_COUNT(array) ((uint8_t)(sizeof(array) / sizeof((array)[0])))

/* For tables: the initialisers of a schema. `unit_` is a string or NULL; bounds are in that unit. */
#define YGG_SCHEMA_BOOL {.type = YGG_TYPE_BOOL}
#define YGG_SCHEMA_INT(unit_) {.type = YGG_TYPE_INT, .unit = (unit_)}
#define YGG_SCHEMA_RANGE_(type_, unit_, minimum_, maximum_)                                                            \
    {.type = (type_),                                                                                                  \
     .unit = (unit_),                                                                                                  \
     .has_minimum = true,                                                                                              \
     .has_maximum = true,                                                                                              \
     .minimum = (minimum_),                                                                                            \
     .maximum = (maximum_)}
#define YGG_SCHEMA_INT_RANGE(unit_, minimum_, maximum_) YGG_SCHEMA_RANGE_(YGG_TYPE_INT, unit_, minimum_, maximum_)
#define YGG_SCHEMA_DOUBLE(unit_) {.type = YGG_TYPE_DOUBLE, .unit = (unit_)}
#define YGG_SCHEMA_DOUBLE_RANGE(unit_, minimum_, maximum_) YGG_SCHEMA_RANGE_(YGG_TYPE_DOUBLE, unit_, minimum_, maximum_)
#define YGG_SCHEMA_STRING(max_length_) {.type = YGG_TYPE_STRING, .max_length = (max_length_)}
#define YGG_SCHEMA_BYTES(max_length_) {.type = YGG_TYPE_BYTES, .max_length = (max_length_)}

#endif
