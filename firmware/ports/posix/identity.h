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

/* Loads both files. Returns false and a `reason` with advice if a file is unreadable, the key does not match, the
 * certificate has no identity, or others may read the key. */
bool identity_load(struct identity *identity, const char *cert_path, const char *key_path,
                   char reason[IDENTITY_REASON_BYTES]);

/* Loads only the key. Fails if it is unreadable, not a key, or others may read it. */
bool identity_load_key(struct identity *identity, const char *path, char reason[IDENTITY_REASON_BYTES]);

void identity_free(struct identity *identity);

/* Reads the identity of a certificate. Returns false if it has none. */
bool identity_of(const X509 *certificate, struct identity_name *name);

/* Writes a PKCS#10 request (RFC 2986) in DER that names the device and is signed by its key. Returns its length; 0 on
 * failure or if it exceeds `size` bytes. */
size_t identity_request(const char *device_id, EVP_PKEY *key, uint8_t *der, size_t size);

/* Returns true and a `reason` if the bridge will reject this identity, such as another id or an expired certificate. */
bool identity_warning(const struct identity *identity, const char *device_id, char reason[IDENTITY_REASON_BYTES]);

#endif
