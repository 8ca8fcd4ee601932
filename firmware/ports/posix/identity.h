/* Who a device is: its certificate, chain and private key from PEM files; and the names in certificates.
 *
 * Identities are URI SANs `ygg://<tenant>/<kind>/<id>`. Source: RFC 5280, section 4.2.1.6. */
#ifndef YGG_PORTS_POSIX_IDENTITY_H
#define YGG_PORTS_POSIX_IDENTITY_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { IDENTITY_PART_BYTES = 64, IDENTITY_REASON_BYTES = 512 };

struct identity_name {
    char tenant[IDENTITY_PART_BYTES];
    char kind[IDENTITY_PART_BYTES];
    char id[IDENTITY_PART_BYTES];
};

struct identity {
    X509 *certificate;
    EVP_PKEY *key;
    STACK_OF(X509) * chain;
    struct identity_name name;
};

/* Reads both files. False and a `reason` that says what to do where they cannot be used: unreadable, not a pair, no
 * identity, or the key may be read by everybody. */
bool identity_load(struct identity *identity, const char *cert_path, const char *key_path,
                   char reason[IDENTITY_REASON_BYTES]);

/* Only the key: unreadable, not a key, or it may be read by everybody. */
bool identity_load_key(struct identity *identity, const char *path, char reason[IDENTITY_REASON_BYTES]);

void identity_free(struct identity *identity);

/* The identity that a certificate states. False where it states none. */
bool identity_of(const X509 *certificate, struct identity_name *name);

/* Writes a PKCS#10 request (RFC 2986) in DER that names the device and is signed by its key; its length, 0 where that
 * failed or `size` bytes do not hold it. */
size_t identity_request(const char *device_id, EVP_PKEY *key, uint8_t *der, size_t size);

/* What the bridge will hold against this identity, such as another id or an expired certificate. False where nothing. */
bool identity_warning(const struct identity *identity, const char *device_id, char reason[IDENTITY_REASON_BYTES]);

#endif
