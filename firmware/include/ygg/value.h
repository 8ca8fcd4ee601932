/* Values in the form that drivers use. Source: protos/yggdrasil/device/v1/link.proto, message LinkValue. */
#ifndef YGG_VALUE_H
#define YGG_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { YGG_ARGUMENTS_MAX = 8, YGG_VALUE_BYTES_MAX = 64 };

/* Numbered as yggdrasil.common.v1.ValueType. */
enum ygg_type {
    YGG_TYPE_NONE = 0,
    YGG_TYPE_BOOL = 1,
    YGG_TYPE_INT = 2,
    YGG_TYPE_DOUBLE = 3,
    YGG_TYPE_STRING = 4,
    YGG_TYPE_BYTES = 5
};

/* Bytes owned by the caller. */
struct ygg_slice {
    const uint8_t *data;
    size_t length; /* In bytes, at most YGG_VALUE_BYTES_MAX. A text is sent up to its first zero byte. */
};

/* One value. STRING and BYTES point to memory of the producer. */
struct ygg_value {
    enum ygg_type type;
    union {
        bool boolean;
        int64_t integer;
        double number;
        struct ygg_slice bytes;
    } as;
};

static inline struct ygg_value ygg_bool(bool value)
{
    return (struct ygg_value){.type = YGG_TYPE_BOOL, .as = {.boolean = value}};
}

static inline struct ygg_value ygg_int(int64_t value)
{
    return (struct ygg_value){.type = YGG_TYPE_INT, .as = {.integer = value}};
}

static inline struct ygg_value ygg_double(double value)
{
    return (struct ygg_value){.type = YGG_TYPE_DOUBLE, .as = {.number = value}};
}

#endif
