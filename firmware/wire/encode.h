/* Small pieces of protobuf encoding that proto3's rules are written into once: defaults are left out. */
#ifndef YGG_WIRE_ENCODE_H
#define YGG_WIRE_ENCODE_H

#include <pb_encode.h>

#include "ygg/value.h"

/* Each returns false where the stream refused the bytes. */
bool ygg_put_uint(pb_ostream_t *out, uint32_t field, uint64_t value);
bool ygg_put_flag(pb_ostream_t *out, uint32_t field, bool value);
bool ygg_put_text(pb_ostream_t *out, uint32_t field, const char *text); /* NULL is "". */
bool ygg_put_double(pb_ostream_t *out, uint32_t field, double value);   /* Also when it is 0: explicit presence. */
bool ygg_put_header(pb_ostream_t *out, uint32_t field, size_t length);  /* Of a submessage or bytes. */

/* A LinkValue as the submessage `field`. */
bool ygg_put_value(pb_ostream_t *out, uint32_t field, const struct ygg_value *value);

/* One Argument{index, value} as element of the repeated field `field`. */
bool ygg_put_argument(pb_ostream_t *out, uint32_t field, uint8_t index, const struct ygg_value *value);

#endif
