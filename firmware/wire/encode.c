#include "wire/encode.h"

#include <string.h>

enum { ARGUMENT_INDEX = 1, ARGUMENT_VALUE = 2 };
enum { VALUE_BOOLEAN = 1, VALUE_INTEGER = 2, VALUE_NUMBER = 3, VALUE_TEXT = 4, VALUE_DATA = 5 };

bool ygg_put_uint(pb_ostream_t *out, uint32_t field, uint64_t value)
{
    return value == 0 || (pb_encode_tag(out, PB_WT_VARINT, field) && pb_encode_varint(out, value));
}

bool ygg_put_flag(pb_ostream_t *out, uint32_t field, bool value)
{
    return ygg_put_uint(out, field, value ? 1U : 0U);
}

bool ygg_put_text(pb_ostream_t *out, uint32_t field, const char *text)
{
    size_t length = text == NULL ? 0 : strlen(text);

    return length == 0 ||
           (pb_encode_tag(out, PB_WT_STRING, field) && pb_encode_string(out, (const pb_byte_t *)text, length));
}

bool ygg_put_double(pb_ostream_t *out, uint32_t field, double value)
{
    return pb_encode_tag(out, PB_WT_64BIT, field) && pb_encode_fixed64(out, &value);
}

bool ygg_put_header(pb_ostream_t *out, uint32_t field, size_t length)
{
    return pb_encode_tag(out, PB_WT_STRING, field) && pb_encode_varint(out, length);
}

static bool put_bytes(pb_ostream_t *out, uint32_t field, const uint8_t *data, size_t length)
{
    return ygg_put_header(out, field, length) && (length == 0 || pb_write(out, data, length));
}

/* A text ends at its first zero byte, as in C: on the link it may contain none. */
static size_t text_length(const struct ygg_slice *text)
{
    const uint8_t *zero = text->length == 0 ? NULL : memchr(text->data, '\0', text->length);

    return zero == NULL ? text->length : (size_t)(zero - text->data);
}

/* A oneof member has presence: false, 0 and "" are written. */
static bool put_value(pb_ostream_t *out, const struct ygg_value *value)
{
    switch (value->type) {
    case YGG_TYPE_BOOL:
        return pb_encode_tag(out, PB_WT_VARINT, VALUE_BOOLEAN) && pb_encode_varint(out, value->as.boolean ? 1U : 0U);
    case YGG_TYPE_INT:
        return pb_encode_tag(out, PB_WT_VARINT, VALUE_INTEGER) && pb_encode_svarint(out, value->as.integer);
    case YGG_TYPE_DOUBLE:
        return ygg_put_double(out, VALUE_NUMBER, value->as.number);
    case YGG_TYPE_STRING:
        return put_bytes(out, VALUE_TEXT, value->as.bytes.data, text_length(&value->as.bytes));
    case YGG_TYPE_BYTES:
        return put_bytes(out, VALUE_DATA, value->as.bytes.data, value->as.bytes.length);
    case YGG_TYPE_NONE:
        break;
    }
    return false;
}

bool ygg_put_value(pb_ostream_t *out, uint32_t field, const struct ygg_value *value)
{
    pb_ostream_t size = PB_OSTREAM_SIZING;

    return put_value(&size, value) && ygg_put_header(out, field, size.bytes_written) && put_value(out, value);
}

bool ygg_put_argument(pb_ostream_t *out, uint32_t field, uint8_t index, const struct ygg_value *value)
{
    pb_ostream_t size = PB_OSTREAM_SIZING;

    return ygg_put_uint(&size, ARGUMENT_INDEX, index) && ygg_put_value(&size, ARGUMENT_VALUE, value) &&
           ygg_put_header(out, field, size.bytes_written) && ygg_put_uint(out, ARGUMENT_INDEX, index) &&
           ygg_put_value(out, ARGUMENT_VALUE, value);
}
