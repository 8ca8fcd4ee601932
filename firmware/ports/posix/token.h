/* The text of an enrolment token: "ygg1.DEVICE.SECRET.FINGERPRINT@HOST:PORT".
 *
 * Pure. Source: protos/yggdrasil/registry/v1/enrolment.proto, CreateTokenResponse.secret. */
#ifndef YGG_PORTS_POSIX_TOKEN_H
#define YGG_PORTS_POSIX_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

#include "ports/posix/resolve.h"

enum { TOKEN_DEVICE_BYTES = 64, TOKEN_SECRET_BYTES = 23, TOKEN_FINGERPRINT_BYTES = 32 };
/* The whole text with its terminator: version, device id, secret, fingerprint, address, and the delimiters. */
enum { TOKEN_TEXT_BYTES = 256 };

struct token {
    char device_id[TOKEN_DEVICE_BYTES];
    char secret[TOKEN_SECRET_BYTES];              /* As in the text: 16 bytes in base64url. */
    uint8_t fingerprint[TOKEN_FINGERPRINT_BYTES]; /* SHA-256 of the root certificate's DER. */
    char address[RESOLVE_TEXT_BYTES];             /* HOST:PORT, where to enrol. */
};

/* Parses a token. Returns NULL, or a human-readable error that does not contain the secret. */
const char *token_parse(struct token *token, const char *text);

/* `[a-z0-9][a-z0-9-]{0,62}` */
bool token_is_device_id(const char *id);

#endif
