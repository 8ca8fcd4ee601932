#include "ports/posix/token.h"

#include <stddef.h>
#include <string.h>

enum { SECRET_RAW_BYTES = 16, FINGERPRINT_CHARS = 43 };

static const char version[] = "ygg1.";

bool token_is_device_id(const char *id)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-";

    return id[0] != '\0' && id[0] != '-' && strlen(id) < TOKEN_DEVICE_BYTES && strspn(id, letters) == strlen(id);
}

/* RFC 4648, section 5, without padding; unused bits must be 0, so that each value has exactly one text. */
static bool decode(const char *text, size_t chars, uint8_t *out, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    unsigned bit_count = 0;
    size_t length = 0;

    for (size_t i = 0; i < chars; i++) {
        const char *digit = text[i] == '\0' ? NULL : strchr(digits, text[i]);

        if (digit == NULL) {
            return false;
        }
        bits = bits << 6U | (uint32_t)(digit - digits);
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            if (length == size) {
                return false;
            }
            out[length++] = (uint8_t)(bits >> bit_count);
            bits &= (1U << bit_count) - 1U;
        }
    }
    return length == size && bits == 0;
}

/* Copies the part up to a delimiter and skips both. Returns false if there is no delimiter, or the part is empty or too
 * long. */
static bool take_part(const char **text, char delimiter, char *out, size_t size)
{
    const char *end = strchr(*text, delimiter);
    size_t length = end == NULL ? 0 : (size_t)(end - *text);

    if (length == 0 || length >= size) {
        return false;
    }
    memcpy(out, *text, length);
    out[length] = '\0';
    *text = end + 1;
    return true;
}

const char *token_parse(struct token *token, const char *text)
{
    char fingerprint[FINGERPRINT_CHARS + 1];
    char host[RESOLVE_TEXT_BYTES];
    char port[8];
    uint8_t secret[SECRET_RAW_BYTES];

    *token = (struct token){0};
    if (strncmp(text, version, sizeof version - 1) != 0) {
        return "it must begin with \"ygg1.\": copy the whole text that ygg device token printed";
    }
    text += sizeof version - 1;
    if (!take_part(&text, '.', token->device_id, sizeof token->device_id) || !token_is_device_id(token->device_id)) {
        return "its second part is not a device id";
    }
    if (!take_part(&text, '.', token->secret, sizeof token->secret) ||
        !decode(token->secret, strlen(token->secret), secret, sizeof secret)) {
        return "its third part is not a secret of 22 characters";
    }
    if (!take_part(&text, '@', fingerprint, sizeof fingerprint) ||
        !decode(fingerprint, strlen(fingerprint), token->fingerprint, sizeof token->fingerprint)) {
        return "its fourth part is not a fingerprint of 43 characters";
    }
    if (strlen(text) >= sizeof token->address || !resolve_split(text, host, port)) {
        return "it does not end with @HOST:PORT, at most 63 bytes";
    }
    memcpy(token->address, text, strlen(text) + 1);
    return NULL;
}
