/* Frames on the byte stream: a varint length and that many bytes of Frame; and the envelope, Frame's oneof.
 *
 *     +-- prefix, 1..3 bytes --+-- tag of the body --+-- length of the body --+-- body --+
 *     |  length of all to the  |  number << 3 | 2    |  varint                |          |
 *     |  right                 |                     |                        |          |
 *     +------------------------+---------------------+------------------------+----------+
 *
 * The envelope is read and written by hand, so that RAM is bounded by the largest body and not by Frame. */
#ifndef YGG_WIRE_FRAME_H
#define YGG_WIRE_FRAME_H

#include <pb_encode.h>

#include "ygg/err.h"

/* Bodies from this number up are optional: skipped if unknown. */
enum { YGG_BODY_OPTIONAL = 64 };

/* A frame in a buffer: bytes [offset, offset + length), without its prefix. */
struct ygg_frame {
    size_t offset;
    size_t length;
};

/* A body in a frame. */
struct ygg_envelope {
    uint32_t number;
    const uint8_t *body;
    size_t length;
};

/* Finds the frame at the start of data[0, size). YGG_ERR_AGAIN: incomplete. YGG_ERR_TOO_LONG: longer than `limit`
 * bytes. YGG_ERR_MALFORMED: the prefix is longer than 3 bytes, or the frame is empty. */
enum ygg_err ygg_frame_find(const uint8_t *data, size_t size, size_t limit, struct ygg_frame *frame);

/* Opens a complete frame. YGG_ERR_MALFORMED: not exactly one body. */
enum ygg_err ygg_envelope_open(const uint8_t *frame, size_t length, struct ygg_envelope *envelope);

/* Returns the size of the frame around a body of `length` bytes, without prefix, in bytes. */
size_t ygg_envelope_size(uint32_t number, size_t length);

/* Writes everything that precedes the body: prefix, tag, length. */
bool ygg_envelope_put(pb_ostream_t *out, uint32_t number, size_t length);

#endif
