#include "ports/posix/enrol.h"

#include <openssl/pem.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/backoff.h"
#include "ports/posix/enrol_exchange.h"
#include "ports/posix/enrol_files.h"
#include "ports/posix/platform.h"

enum { CERTIFICATES_MAX = 8, ATTEMPTS_MAX = 32, RETRY_AFTER_MS_MAX = 3600000 };

static void log_event(const struct posix_platform *platform, enum ygg_log_level level, const char *event,
                      const struct ygg_log_field *fields, size_t count)
{
    posix_platform.log((void *)(uintptr_t)platform, level, event, fields, count);
}

/* --- the granted certificates ------------------------------------------------------------------------------------- */

/* Copies the certificates of a PEM text, and nothing else. Returns their number, 0 if the text is invalid, and the
 * first one in `first`, which the caller frees. */
static int copy_certificates(const uint8_t *pem, size_t size, BIO *out, X509 **first)
{
    BIO *in = BIO_new_mem_buf(pem, (int)size);
    int count = 0;

    *first = NULL;
    for (X509 *next = NULL;
         in != NULL && count < CERTIFICATES_MAX && (next = PEM_read_bio_X509(in, NULL, NULL, NULL)) != NULL; count++) {
        bool copied = PEM_write_bio_X509(out, next) == 1;

        if (*first == NULL) {
            *first = next;
        } else {
            X509_free(next);
        }
        if (!copied) {
            break;
        }
    }
    BIO_free(in);
    return count;
}

static bool store(const char *directory, const char *name, BIO *text, char reason[IDENTITY_REASON_BYTES])
{
    char *data = NULL;
    long size = BIO_get_mem_data(text, &data);

    return enrol_write(directory, name, data, (size_t)size, S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH, reason);
}

/* Whether the certificate is for this device and this key. */
static bool is_for_device(const X509 *certificate, const struct token *token, const EVP_PKEY *key,
                          char reason[IDENTITY_REASON_BYTES])
{
    struct identity_name name;

    if (!identity_of(certificate, &name) || strcmp(name.kind, "device") != 0 ||
        strcmp(name.id, token->device_id) != 0) {
        (void)snprintf(reason, IDENTITY_REASON_BYTES,
                       "%s: the issued certificate is not for device %s; nothing was stored", token->address,
                       token->device_id);
        return false;
    }
    if (X509_check_private_key(certificate, key) != 1) {
        (void)snprintf(reason, IDENTITY_REASON_BYTES,
                       "%s: the issued certificate is for another key; nothing was stored", token->address);
        return false;
    }
    return true;
}

/* Stores the certificates. cert.pem comes last: it marks the device as enrolled. */
static bool store_identity(const char *directory, const struct token *token, const EVP_PKEY *key,
                           const yggdrasil_device_v1_EnrolGranted *granted, char reason[IDENTITY_REASON_BYTES])
{
    BIO *chain = BIO_new(BIO_s_mem());
    BIO *services = BIO_new(BIO_s_mem());
    X509 *certificate = NULL;
    X509 *service_ca = NULL;
    bool kept = false;

    if (chain == NULL || services == NULL ||
        copy_certificates(granted->certificate_chain.bytes, granted->certificate_chain.size, chain, &certificate) < 2 ||
        copy_certificates(granted->service_ca.bytes, granted->service_ca.size, services, &service_ca) < 1) {
        (void)snprintf(reason, IDENTITY_REASON_BYTES, "%s: the response lacks certificates; nothing was stored",
                       token->address);
    } else if (is_for_device(certificate, token, key, reason)) {
        kept = store(directory, "services.pem", services, reason) && store(directory, "cert.pem", chain, reason);
    }
    X509_free(certificate);
    X509_free(service_ca);
    BIO_free(chain);
    BIO_free(services);
    return kept;
}

/* --- attempts ----------------------------------------------------------------------------------------------------- */

static void wait_for_next(const struct options *options, const struct posix_platform *platform, const char *why,
                          uint32_t attempt, uint32_t floor_ms)
{
    uint32_t bound = ygg_backoff_bound_ms(options->backoff_min_ms, options->backoff_max_ms,
                                          (uint8_t)(attempt < ATTEMPTS_MAX ? attempt : ATTEMPTS_MAX));
    uint32_t random = UINT32_MAX; /* Without randomness: the whole bound. */

    (void)posix_platform.random((void *)(uintptr_t)platform, (uint8_t *)&random, sizeof random);
    uint32_t floor = floor_ms < RETRY_AFTER_MS_MAX ? floor_ms : RETRY_AFTER_MS_MAX;
    uint32_t delay_ms = floor + ygg_backoff_ms(bound, random);
    const struct ygg_log_field fields[] = {{.key = "reason", .text = why}, {.key = "retry_in_ms", .number = delay_ms}};

    log_event(platform, YGG_LOG_WARNING, "enrolment_failed", fields, 2);
    (void)poll(NULL, 0, (int)delay_ms);
}

/* Requests a certificate. If the registry cannot be reached: retries with `retry`, else fails. */
static bool request_certificate(const struct options *options, const struct token *token, EVP_PKEY *key, bool retry,
                                char reason[IDENTITY_REASON_BYTES])
{
    static struct exchange_answer answer;
    struct posix_platform platform = {.device_id = token->device_id,
                                      .log_level = options->log_level,
                                      .seeded = options->seeded,
                                      .prng = options->seed};
    const struct ygg_log_field field = {.key = "address", .text = token->address};

    for (uint32_t attempt = 0;; attempt++) {
        log_event(&platform, YGG_LOG_INFO, "enrolling", &field, 1);
        switch (exchange(token, key, &answer, reason)) {
        case EXCHANGE_RETRY:
            if (!retry) {
                return false;
            }
            wait_for_next(options, &platform, reason, attempt, answer.retry_after_ms);
            break;
        case EXCHANGE_REFUSED:
            return false;
        case EXCHANGE_GRANTED:
            if (!store_identity(options->identity, token, key, &answer.message.outcome.granted, reason)) {
                return false;
            }
            log_event(&platform, YGG_LOG_INFO, "enrolled", &field, 1);
            return true;
        }
    }
}

/* Exits on a signal: there is no session to close, and all files are complete at any time. The handler is needed
 * because the first process of a container ignores signals by default. */
static void exit_on_signal(int number)
{
    (void)number;
    _exit(EXIT_SUCCESS);
}

/* The digest of the token that the certificate was issued for, without its secret. */
static const char origin_name[] = "token.sha256";
enum { ORIGIN_BYTES = 2 * TOKEN_FINGERPRINT_BYTES + 1 };

static bool origin_of(const char *text, char out[ORIGIN_BYTES])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned int length = 0;

    if (EVP_Digest(text, strlen(text), digest, &length, EVP_sha256(), NULL) != 1 || length != TOKEN_FINGERPRINT_BYTES) {
        return false;
    }
    for (unsigned int i = 0; i < length; i++) {
        (void)snprintf(out + 2 * i, 3, "%02x", digest[i]);
    }
    return true;
}

/* The certificate in the identity directory before enrolment. */
enum existing { EXISTING_NONE, EXISTING_VALID, EXISTING_EXPIRED, EXISTING_OF_OTHER_DEVICE };

static enum existing find_existing(const char *directory, const struct token *token)
{
    X509 *certificate = enrol_certificate(directory);
    struct identity_name name;
    enum existing existing = EXISTING_VALID;

    if (certificate == NULL) {
        return EXISTING_NONE; /* Missing or unreadable: the new one replaces it. */
    }
    if (!identity_of(certificate, &name) || strcmp(name.id, token->device_id) != 0) {
        existing = EXISTING_OF_OTHER_DEVICE;
    } else if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0) {
        existing = EXISTING_EXPIRED;
    }
    X509_free(certificate);
    return existing;
}

static bool enrol_with(const struct options *options, const struct token *token, bool retry,
                       char reason[IDENTITY_REASON_BYTES])
{
    char origin[ORIGIN_BYTES];

    if (!enrol_directory(options->identity, reason)) {
        return false;
    }
    (void)signal(SIGTERM, exit_on_signal);
    (void)signal(SIGINT, exit_on_signal);
    EVP_PKEY *key = enrol_key(options->identity, reason);
    bool enrolled = key != NULL && request_certificate(options, token, key, retry, reason);
    EVP_PKEY_free(key);
    (void)signal(SIGTERM, SIG_DFL);
    (void)signal(SIGINT, SIG_DFL);
    /* Comes last: without it the same token is only tried once more. */
    return enrolled && origin_of(options->token, origin) &&
           enrol_write(options->identity, origin_name, origin, strlen(origin), S_IRUSR | S_IWUSR, reason);
}

bool enrol(const struct options *options, char reason[IDENTITY_REASON_BYTES])
{
    struct token token;
    char origin[ORIGIN_BYTES];

    if (options->token == NULL) {
        return true;
    }
    const char *wrong = token_parse(&token, options->token);
    if (wrong != NULL) {
        (void)snprintf(reason, IDENTITY_REASON_BYTES, "invalid token: %s", wrong);
        return false;
    }
    enum existing existing = find_existing(options->identity, &token);
    if (existing == EXISTING_OF_OTHER_DEVICE) {
        (void)snprintf(reason, IDENTITY_REASON_BYTES,
                       "%.300s holds the identity of another device than %s: use another --identity", options->identity,
                       token.device_id);
        return false;
    }
    if (existing == EXISTING_VALID && origin_of(options->token, origin) &&
        enrol_holds(options->identity, origin_name, origin)) {
        (void)fprintf(stderr, "ygg-agent: %s already holds the certificate of this token\n", options->identity);
        return true;
    }
    /* A new token beside a certificate: that one may have been revoked. */
    if (enrol_with(options, &token, existing != EXISTING_VALID, reason)) {
        return true;
    }
    if (existing == EXISTING_VALID) {
        (void)fprintf(stderr, "ygg-agent: %s; continuing with the existing certificate\n", reason);
    }
    return existing == EXISTING_VALID;
}
