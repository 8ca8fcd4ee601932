#include "ports/posix/renew.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "ports/posix/enrol_files.h"

enum { PATH_BYTES = 4096 };

static bool reject(const struct renewal *renewal, const char *reason)
{
    const struct ygg_log_field field = {.key = "reason", .text = reason};

    posix_platform.log(renewal->platform, YGG_LOG_WARNING, "certificate_rejected", &field, 1);
    ERR_clear_error();
    return false;
}

static size_t make_request(void *ctx, uint8_t *out, size_t size)
{
    const struct renewal *renewal = ctx;

    return identity_request(renewal->identity->name.id, renewal->identity->key, out, size);
}

static bool same_name(const struct identity_name *left, const struct identity_name *right)
{
    return strcmp(left->tenant, right->tenant) == 0 && strcmp(left->kind, right->kind) == 0 &&
           strcmp(left->id, right->id) == 0;
}

/* Returns why the certificate is rejected; NULL if it is valid. A clock that is behind is no obstacle: the bridge's
 * counts. */
static const char *find_fault(const struct identity *identity, X509 *certificate, X509 *issuer)
{
    EVP_PKEY *issuer_key = X509_get0_pubkey(issuer);
    struct identity_name name;

    if (!identity_of(certificate, &name) || !same_name(&name, &identity->name)) {
        return "the issued certificate is not for this device";
    }
    if (X509_check_private_key(certificate, identity->key) != 1) {
        return "the issued certificate is for another key";
    }
    if (issuer_key == NULL || X509_verify(identity->certificate, issuer_key) != 1 ||
        X509_verify(certificate, issuer_key) != 1) {
        return "the issued certificate is not from the CA of the one in use";
    }
    if (X509_cmp_current_time(X509_get0_notAfter(certificate)) <= 0 ||
        ASN1_TIME_compare(X509_get0_notAfter(certificate), X509_get0_notAfter(identity->certificate)) <= 0) {
        return "the issued certificate has expired, or expires no later than the one in use";
    }
    return NULL;
}

static bool write_pem(const struct renewal *renewal, X509 *certificate, X509 *issuer,
                      char reason[IDENTITY_REASON_BYTES])
{
    char directory[PATH_BYTES];
    BIO *text = BIO_new(BIO_s_mem());
    char *data = NULL;

    (void)snprintf(directory, sizeof directory, "%s", renewal->cert_path);
    char *slash = strrchr(directory, '/');
    const char *name = slash == NULL ? renewal->cert_path : renewal->cert_path + (slash - directory) + 1;
    if (slash == NULL) {
        (void)snprintf(directory, sizeof directory, ".");
    } else {
        slash[slash == directory ? 1 : 0] = '\0';
    }
    (void)snprintf(reason, IDENTITY_REASON_BYTES, "out of memory");
    bool written = text != NULL && PEM_write_bio_X509(text, certificate) == 1 && PEM_write_bio_X509(text, issuer) == 1;
    long size = written ? BIO_get_mem_data(text, &data) : 0;
    written = written &&
              enrol_write(directory, name, data, (size_t)size, S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH, reason);
    BIO_free(text);
    return written;
}

/* Replaces the certificate for later connections. On success takes ownership of both certificates. */
static bool replace(struct renewal *renewal, X509 *certificate, X509 *issuer)
{
    char reason[IDENTITY_REASON_BYTES];
    const char *fault = find_fault(renewal->identity, certificate, issuer);
    STACK_OF(X509) *chain = sk_X509_new_null();

    if (fault != NULL || chain == NULL || !write_pem(renewal, certificate, issuer, reason) ||
        sk_X509_push(chain, issuer) <= 0) {
        sk_X509_free(chain);
        return reject(renewal, fault != NULL ? fault : chain == NULL ? "out of memory" : reason);
    }
    X509_free(renewal->identity->certificate);
    sk_X509_pop_free(renewal->identity->chain, X509_free);
    renewal->identity->certificate = certificate;
    renewal->identity->chain = chain;
    tls_identity_changed(renewal->connection);
    return true;
}

static bool store(void *ctx, const uint8_t *certificates, size_t size)
{
    const uint8_t *at = certificates;
    const uint8_t *end = certificates + size;
    X509 *certificate = d2i_X509(NULL, &at, (long)size);
    X509 *issuer = certificate == NULL ? NULL : d2i_X509(NULL, &at, (long)(end - at));
    bool read = issuer != NULL && at == end;

    if (read && replace(ctx, certificate, issuer)) {
        return true;
    }
    X509_free(certificate);
    X509_free(issuer);
    return read ? false : reject(ctx, "the response does not consist of two certificates");
}

const struct ygg_certificate_port renew_port = {.request = make_request, .store = store};
