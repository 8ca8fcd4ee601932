#include "ports/posix/verify.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <string.h>

enum { NUMBER_BYTES = 32, DER_BYTES_MAX = 80 };

/* Builds a key from X and Y; NULL if they are not a point on the curve. */
static EVP_PKEY *make_key(const uint8_t key[YGG_KEY_BYTES])
{
    uint8_t point[1 + YGG_KEY_BYTES] = {POINT_CONVERSION_UNCOMPRESSED};
    char group[] = "prime256v1";
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *made = NULL;

    memcpy(point + 1, key, YGG_KEY_BYTES);
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
                           OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point),
                           OSSL_PARAM_construct_end()};
    if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &made, EVP_PKEY_PUBLIC_KEY, params) != 1) {
        made = NULL;
    }
    EVP_PKEY_CTX_free(ctx);
    return made;
}

/* Encodes r and s in DER for OpenSSL. Returns the size; 0 on failure. */
static size_t make_der(const uint8_t signature[YGG_SIGNATURE_BYTES], uint8_t der[DER_BYTES_MAX])
{
    ECDSA_SIG *numbers = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(signature, NUMBER_BYTES, NULL);
    BIGNUM *s = BN_bin2bn(signature + NUMBER_BYTES, NUMBER_BYTES, NULL);
    uint8_t *out = der;
    int size = 0;

    if (numbers == NULL || r == NULL || s == NULL || ECDSA_SIG_set0(numbers, r, s) != 1) {
        BN_free(r);
        BN_free(s);
    } else {
        size = i2d_ECDSA_SIG(numbers, &out);
    }
    ECDSA_SIG_free(numbers);
    return size > 0 ? (size_t)size : 0;
}

static bool verify_p256(void *ctx, const uint8_t key[YGG_KEY_BYTES], const uint8_t digest[YGG_SHA256_BYTES],
                        const uint8_t signature[YGG_SIGNATURE_BYTES])
{
    uint8_t der[DER_BYTES_MAX];
    size_t size = make_der(signature, der);
    EVP_PKEY *made = make_key(key);
    EVP_PKEY_CTX *verifier = made == NULL ? NULL : EVP_PKEY_CTX_new(made, NULL);

    (void)ctx;
    bool good = size > 0 && verifier != NULL && EVP_PKEY_verify_init(verifier) == 1 &&
                EVP_PKEY_verify(verifier, der, size, digest, YGG_SHA256_BYTES) == 1;
    EVP_PKEY_CTX_free(verifier);
    EVP_PKEY_free(made);
    ERR_clear_error();
    return good;
}

const struct ygg_verify posix_verify = {.p256 = verify_p256};
