#include "ports/posix/identity.h"

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static bool fail(char reason[IDENTITY_REASON_BYTES], const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(reason, IDENTITY_REASON_BYTES, format, arguments);
    va_end(arguments);
    return false;
}

/* Never prompts for a passphrase. */
static int no_passphrase(char *buffer, int size, int writing, void *ctx)
{
    (void)buffer;
    (void)size;
    (void)writing;
    (void)ctx;
    return 0;
}

static bool load_certificates(struct identity *identity, const char *path, char reason[IDENTITY_REASON_BYTES])
{
    FILE *file = fopen(path, "r");

    if (file == NULL) {
        return fail(reason, "cannot read the certificate %s: %s. Make one: ygg pki issue device ID", path,
                    strerror(errno));
    }
    identity->certificate = PEM_read_X509(file, NULL, no_passphrase, NULL);
    for (X509 *next = NULL; (next = PEM_read_X509(file, NULL, no_passphrase, NULL)) != NULL;) {
        if (sk_X509_push(identity->chain, next) <= 0) {
            X509_free(next);
        }
    }
    (void)fclose(file);
    return identity->certificate != NULL || fail(reason, "%s contains no PEM certificate", path);
}

static bool key_is_private(int fd, const char *path, char reason[IDENTITY_REASON_BYTES])
{
    struct stat status;

    if (fstat(fd, &status) != 0) {
        return fail(reason, "cannot read the key %s: %s", path, strerror(errno));
    }
    return (status.st_mode & (S_IROTH | S_IWOTH)) == 0 ||
           fail(reason, "other users can access the key %s. Fix it: chmod 600 %s", path, path);
}

bool identity_load_key(struct identity *identity, const char *path, char reason[IDENTITY_REASON_BYTES])
{
    FILE *file = fopen(path, "r");

    if (file == NULL) {
        return fail(reason, "cannot read the key %s: %s", path, strerror(errno));
    }
    bool closed = key_is_private(fileno(file), path, reason);
    if (closed) {
        identity->key = PEM_read_PrivateKey(file, NULL, no_passphrase, NULL);
    }
    (void)fclose(file);
    if (closed && identity->key == NULL) {
        return fail(reason, "%s contains no PEM private key without a passphrase", path);
    }
    return closed;
}

bool identity_load(struct identity *identity, const char *cert_path, const char *key_path,
                   char reason[IDENTITY_REASON_BYTES])
{
    *identity = (struct identity){.chain = sk_X509_new_null()};
    if (identity->chain == NULL) {
        return fail(reason, "out of memory");
    }
    if (!load_certificates(identity, cert_path, reason) || !identity_load_key(identity, key_path, reason)) {
        return false;
    }
    if (X509_check_private_key(identity->certificate, identity->key) != 1) {
        return fail(reason, "%s is not the key of %s", key_path, cert_path);
    }
    return identity_of(identity->certificate, &identity->name) ||
           fail(reason, "%s has no identity ygg://<tenant>/<kind>/<id>. Make one: ygg pki issue device ID", cert_path);
}

void identity_free(struct identity *identity)
{
    X509_free(identity->certificate);
    EVP_PKEY_free(identity->key);
    sk_X509_pop_free(identity->chain, X509_free);
    *identity = (struct identity){0};
}

static bool take_part(char out[IDENTITY_PART_BYTES], const char *from, size_t length)
{
    if (length == 0 || length >= IDENTITY_PART_BYTES || memchr(from, '\0', length) != NULL) {
        return false;
    }
    memcpy(out, from, length);
    out[length] = '\0';
    return true;
}

static bool parse_name(const char *uri, size_t length, struct identity_name *name)
{
    static const char scheme[] = "ygg://";
    size_t head = sizeof scheme - 1;

    if (length <= head || memcmp(uri, scheme, head) != 0) {
        return false;
    }
    const char *end = uri + length;
    const char *tenant = uri + head;
    const char *slash = memchr(tenant, '/', (size_t)(end - tenant));
    const char *second = slash == NULL ? NULL : memchr(slash + 1, '/', (size_t)(end - slash - 1));
    if (second == NULL || memchr(second + 1, '/', (size_t)(end - second - 1)) != NULL) {
        return false;
    }
    return take_part(name->tenant, tenant, (size_t)(slash - tenant)) &&
           take_part(name->kind, slash + 1, (size_t)(second - slash - 1)) &&
           take_part(name->id, second + 1, (size_t)(end - second - 1));
}

bool identity_of(const X509 *certificate, struct identity_name *name)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    bool found = false;

    for (int i = 0; !found && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *general = sk_GENERAL_NAME_value(names, i);

        if (general->type == GEN_URI) {
            const ASN1_IA5STRING *uri = general->d.uniformResourceIdentifier;

            found = parse_name((const char *)ASN1_STRING_get0_data(uri), (size_t)ASN1_STRING_length(uri), name);
        }
    }
    GENERAL_NAMES_free(names);
    return found;
}

size_t identity_request(const char *device_id, EVP_PKEY *key, uint8_t *der, size_t size)
{
    X509_REQ *request = X509_REQ_new();
    uint8_t *end = der;
    int length = 0;

    if (request != NULL && X509_REQ_set_version(request, X509_REQ_VERSION_1) == 1 &&
        X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(request), "CN", MBSTRING_UTF8,
                                   (const unsigned char *)device_id, -1, -1, 0) == 1 &&
        X509_REQ_set_pubkey(request, key) == 1 && X509_REQ_sign(request, key, EVP_sha256()) > 0) {
        length = i2d_X509_REQ(request, NULL);
    }
    if (length <= 0 || (size_t)length > size || i2d_X509_REQ(request, &end) != length) {
        length = 0;
    }
    X509_REQ_free(request);
    return (size_t)length;
}

bool identity_warning(const struct identity *identity, const char *device_id, char reason[IDENTITY_REASON_BYTES])
{
    const struct identity_name *name = &identity->name;

    if (strcmp(name->kind, "device") != 0 || strcmp(name->id, device_id) != 0) {
        (void)fail(reason, "the certificate is for %s %s, not for device %s: the bridge will refuse it", name->kind,
                   name->id, device_id);
        return true;
    }
    if (X509_cmp_current_time(X509_get0_notAfter(identity->certificate)) <= 0) {
        (void)fail(reason, "the certificate has expired. Make another: ygg pki issue device %s", device_id);
        return true;
    }
    return false;
}
