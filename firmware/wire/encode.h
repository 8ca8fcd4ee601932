/* Protobuf encoding of single fields, with proto3's rule in one place: defaults are omitted. */
#ifndef YGG_WIRE_ENCODE_H
#define YGG_WIRE_ENCODE_H

#include <pb_encode.h>

#include "ygg/value.h"

/* Each returns false if the stream failed. */
bool ygg_put_uint(pb_ostream_t *out, uint32_t field, uint64_t value);
bool ygg_put_flag(pb_ostream_t *out, uint32_t field, bool value);
bool ygg_put_text(pb_ostream_t *out, uint32_t field, const char *text); /* NULL is "". */
bool ygg_put_double(pb_ostream_t *out, uint32_t field, double value);   /* Even if 0: explicit presence. */
bool ygg_put_header(pb_ostream_t *out, uint32_t field, size_t length);  /* Of a submessage or bytes. */

/* A LinkValue as the submessage `field`. */
bool ygg_put_value(pb_ostream_t *out, uint32_t field, const struct ygg_value *value);

/* An Argument{index, value} as an element of the repeated field `field`. */
bool ygg_put_argument(pb_ostream_t *out, uint32_t field, uint8_t index, const struct ygg_value *value);

#endif
