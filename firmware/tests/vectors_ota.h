/* Golden vectors of updates: frames 32 to 41, and signed metadata as the device reads them. */
#ifndef YGG_TESTS_VECTORS_OTA_H
#define YGG_TESTS_VECTORS_OTA_H

#include "wire/body.h"

/* Re-encodes a body of frames 32 to 41 from its decoded form. Returns whether it is one of those. */
bool vectors_ota_again(pb_ostream_t *out, const struct ygg_envelope *envelope, bool *written);

/* Parses a file signed_NAME.bin in place and compares with nanopb. */
void vectors_check_signed(const char *name, const uint8_t *data, size_t size);

#endif
