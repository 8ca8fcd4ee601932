/* libFuzzer on the decoder: any bytes as a stream of frames from the bridge. */
#include <stdlib.h>
#include <string.h>

#include "wire/body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static union ygg_body body;
    struct ygg_frame frame = {0};
    struct ygg_envelope envelope;

    while (ygg_frame_find(data, size, 4096, &frame) == YGG_OK) {
        if (ygg_envelope_open(data + frame.offset, frame.length, &envelope) != YGG_OK) {
            break;
        }
        if (ygg_body_decode(&envelope, &body) == YGG_OK && envelope.number == YGG_BODY_INVOKE &&
            memchr(body.invoke.call_id, '\0', sizeof body.invoke.call_id) == NULL) {
            abort(); /* An unterminated text. */
        }
        data += frame.offset + frame.length;
        size -= frame.offset + frame.length;
    }
    return 0;
}
