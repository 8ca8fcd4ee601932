#include "wire/frame.h"

#include <pb_decode.h>

#include "wire/encode.h"
#include "ygg/agent.h"

enum ygg_err ygg_frame_find(const uint8_t *data, size_t size, size_t limit, struct ygg_frame *frame)
{
    size_t length = 0;

    for (size_t i = 0; i < YGG_PREFIX_BYTES; i++) {
        if (i == size) {
            return YGG_ERR_AGAIN;
        }
        length |= (size_t)(data[i] & 0x7FU) << (7U * i);
        if ((data[i] & 0x80U) == 0) {
            if (length == 0) {
                return YGG_ERR_MALFORMED;
            }
            if (length > limit) {
                return YGG_ERR_TOO_LONG;
            }
            *frame = (struct ygg_frame){.offset = i + 1, .length = length};
            return size - frame->offset < length ? YGG_ERR_AGAIN : YGG_OK;
        }
    }
    return YGG_ERR_MALFORMED;
}

enum ygg_err ygg_envelope_open(const uint8_t *frame, size_t length, struct ygg_envelope *envelope)
{
    pb_istream_t in = pb_istream_from_buffer(frame, length);
    pb_wire_type_t type = PB_WT_VARINT;
    uint32_t number = 0;
    uint32_t body_length = 0;
    bool eof = false;

    if (!pb_decode_tag(&in, &type, &number, &eof) || type != PB_WT_STRING || number == 0 ||
        !pb_decode_varint32(&in, &body_length) || body_length != in.bytes_left) {
        return YGG_ERR_MALFORMED;
    }
    *envelope = (struct ygg_envelope){
        .number = number, .body = frame + (length - in.bytes_left), .length = body_length};
    return YGG_OK;
}

size_t ygg_envelope_size(uint32_t number, size_t length)
{
    pb_ostream_t size = PB_OSTREAM_SIZING;

    /* A counting stream cannot fail. */
    (void)ygg_put_header(&size, number, length);
    return size.bytes_written + length;
}

bool ygg_envelope_put(pb_ostream_t *out, uint32_t number, size_t length)
{
    return pb_encode_varint(out, ygg_envelope_size(number, length)) && ygg_put_header(out, number, length);
}
