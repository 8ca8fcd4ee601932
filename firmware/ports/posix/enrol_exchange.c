#include "ports/posix/enrol_exchange.h"

#include <errno.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <pb_decode.h>
#include <pb_encode.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "ports/posix/platform.h"
#include "wire/frame.h"
#include "ygg/agent.h"

/* Timeout of one attempt. EnrolResponse with both PEM texts at their maximum, and the tags and lengths around them. */
enum { TIMEOUT_MS = 15000, REQUEST_BYTES = 1280, ANSWER_BYTES = 3072 + 1536 + 16 };

/* RFC 7301 wire form: one length byte, then the name. */
static const unsigned char alpn[] = "\x11"
                                    "einherjar-enrol/1";
enum { ALPN_BYTES = sizeof alpn - 1 };

/* The only tenant; a device without a certificate has no other way to know its own. */
static const char tenant[] = "main";

struct attempt {
    const struct token *token;
    uint64_t until_ms;
    int fd;
    SSL_CTX *ctx;
    SSL *ssl;
    const char *fault; /* Why the server is not the registry of the token. */
    char *reason;
};

static enum exchange_outcome fail(const struct attempt *attempt, enum exchange_outcome outcome, const char *why)
{
    (void)snprintf(attempt->reason, IDENTITY_REASON_BYTES, "%s: %s", attempt->token->address, why);
    return outcome;
}

/* --- authentication of the server --------------------------------------------------------------------------------- */

static X509 *find_root(const struct token *token, STACK_OF(X509) * sent)
{
    for (int i = 0; i < sk_X509_num(sent); i++) {
        X509 *certificate = sk_X509_value(sent, i);
        uint8_t digest[EVP_MAX_MD_SIZE];
        unsigned int length = 0;

        if (X509_digest(certificate, EVP_sha256(), digest, &length) == 1 && length == TOKEN_FINGERPRINT_BYTES &&
            CRYPTO_memcmp(digest, token->fingerprint, TOKEN_FINGERPRINT_BYTES) == 0) {
            return certificate;
        }
    }
    return NULL;
}

static bool verify_chain(X509_STORE_CTX *store, X509 *root)
{
    STACK_OF(X509) *trusted = sk_X509_new_null();
    bool leads = false;

    if (trusted != NULL && sk_X509_push(trusted, root) > 0) {
        X509_STORE_CTX_set0_trusted_stack(store, trusted);
        leads = X509_verify_cert(store) == 1;
    }
    sk_X509_free(trusted);
    return leads;
}

static const char *find_fault(const struct token *token, X509_STORE_CTX *store)
{
    X509 *root = find_root(token, X509_STORE_CTX_get0_untrusted(store));
    struct identity_name name;

    if (root == NULL || X509_self_signed(root, 1) != 1) {
        return "the server does not have the root certificate of the token: it belongs to another mesh, or the "
               "connection "
               "is intercepted. Make a new token with: ygg device token";
    }
    if (!verify_chain(store, root)) {
        switch (X509_STORE_CTX_get_error(store)) {
        case X509_V_ERR_CERT_NOT_YET_VALID:
            return "the server's certificate is not yet valid by this device's clock, which is behind: set the clock";
        case X509_V_ERR_CERT_HAS_EXPIRED:
            return "the server's certificate has expired by this device's clock: set the clock if it is ahead, else "
                   "renew the certificate";
        default:
            break;
        }
        return "the server's certificate does not lead to the root of the token";
    }
    if (!identity_of(X509_STORE_CTX_get0_cert(store), &name) || strcmp(name.tenant, tenant) != 0 ||
        strcmp(name.kind, "service") != 0 || strcmp(name.id, "registry") != 0) {
        return "the server is not the registry: its certificate is for something else";
    }
    return NULL;
}

static int verify_server(X509_STORE_CTX *store, void *arg)
{
    struct attempt *attempt = arg;

    attempt->fault = find_fault(attempt->token, store);
    if (attempt->fault == NULL) {
        return 1;
    }
    X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
    return 0;
}

/* --- I/O with a deadline ------------------------------------------------------------------------------------------ */

static bool wait_for(const struct attempt *attempt, short events)
{
    struct pollfd poller = {.fd = attempt->fd, .events = events};
    int ready = 0;

    do {
        uint64_t now = posix_now_ms();

        ready = now >= attempt->until_ms ? 0 : poll(&poller, 1, (int)(attempt->until_ms - now));
    } while (ready < 0 && errno == EINTR);
    return ready > 0;
}

/* Waits for the socket as OpenSSL requires after `result`. Returns whether to call it again. */
static bool wait_for_tls(const struct attempt *attempt, int result)
{
    switch (SSL_get_error(attempt->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return wait_for(attempt, POLLIN);
    case SSL_ERROR_WANT_WRITE:
        return wait_for(attempt, POLLOUT);
    default:
        return false;
    }
}

static bool connect_to(struct attempt *attempt, const struct sockaddr *address, socklen_t length)
{
    int failure = 0;
    socklen_t failure_length = sizeof failure;

    attempt->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (attempt->fd >= 0 && (connect(attempt->fd, address, length) == 0 || errno == EINPROGRESS) &&
        wait_for(attempt, POLLOUT) && getsockopt(attempt->fd, SOL_SOCKET, SO_ERROR, &failure, &failure_length) == 0 &&
        failure == 0) {
        return true;
    }
    if (attempt->fd >= 0) {
        (void)close(attempt->fd);
        attempt->fd = -1;
    }
    return false;
}

static enum exchange_outcome open_tcp(struct attempt *attempt)
{
    struct resolved resolved = {0};
    const char *failed = resolve(&resolved, attempt->token->address, posix_now_ms());

    for (size_t i = 0; failed == NULL && i < resolved.count; i++) {
        if (connect_to(attempt, (const struct sockaddr *)&resolved.at[i].address, resolved.at[i].length)) {
            return EXCHANGE_GRANTED;
        }
    }
    return fail(attempt, EXCHANGE_RETRY, failed != NULL ? failed : "connection refused or network down");
}

static bool speaks_enrolment(const SSL *ssl)
{
    const unsigned char *chosen = NULL;
    unsigned int length = 0;

    SSL_get0_alpn_selected(ssl, &chosen, &length);
    return length == ALPN_BYTES - 1 && memcmp(chosen, alpn + 1, length) == 0;
}

static enum exchange_outcome open_tls(struct attempt *attempt)
{
    static const char other[] = "the peer does not speak einherjar-enrol/1: is this the registry's enrolment port?";
    int done = 0;

    attempt->ctx = SSL_CTX_new(TLS_client_method());
    if (attempt->ctx == NULL || SSL_CTX_set_min_proto_version(attempt->ctx, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_alpn_protos(attempt->ctx, alpn, ALPN_BYTES) != 0 ||
        (attempt->ssl = SSL_new(attempt->ctx)) == NULL || SSL_set_fd(attempt->ssl, attempt->fd) != 1) {
        return fail(attempt, EXCHANGE_REFUSED, "cannot set up TLS");
    }
    SSL_CTX_set_cert_verify_callback(attempt->ctx, verify_server, attempt);
    SSL_set_verify(attempt->ssl, SSL_VERIFY_PEER, NULL);
    (void)SSL_set_options(attempt->ssl, SSL_OP_IGNORE_UNEXPECTED_EOF);
    do {
        ERR_clear_error();
        done = SSL_connect(attempt->ssl);
    } while (done != 1 && wait_for_tls(attempt, done));
    if (attempt->fault != NULL) {
        return fail(attempt, EXCHANGE_REFUSED, attempt->fault);
    }
    if (done != 1) {
        return SSL_get_error(attempt->ssl, done) == SSL_ERROR_SSL
                   ? fail(attempt, EXCHANGE_REFUSED, other)
                   : fail(attempt, EXCHANGE_RETRY, "the TLS handshake timed out");
    }
    return speaks_enrolment(attempt->ssl) ? EXCHANGE_GRANTED : fail(attempt, EXCHANGE_REFUSED, other);
}

/* --- the request -------------------------------------------------------------------------------------------------- */

static size_t encode_request(const struct attempt *attempt, EVP_PKEY *key, uint8_t *out, size_t size)
{
    static yggdrasil_device_v1_EnrolRequest request;
    pb_ostream_t counted = PB_OSTREAM_SIZING;
    pb_ostream_t stream = pb_ostream_from_buffer(out, size);

    memset(&request, 0, sizeof request);
    memcpy(request.secret, attempt->token->secret, sizeof attempt->token->secret);
    memcpy(request.device_id, attempt->token->device_id, sizeof attempt->token->device_id);
    request.certificate_request.size = (pb_size_t)identity_request(
        attempt->token->device_id, key, request.certificate_request.bytes, sizeof request.certificate_request.bytes);
    bool made = request.certificate_request.size > 0 &&
                pb_encode(&counted, yggdrasil_device_v1_EnrolRequest_fields, &request) &&
                pb_encode_varint(&stream, counted.bytes_written) &&
                pb_encode(&stream, yggdrasil_device_v1_EnrolRequest_fields, &request);
    OPENSSL_cleanse(&request, sizeof request);
    return made ? stream.bytes_written : 0;
}

static enum exchange_outcome send_request(const struct attempt *attempt, EVP_PKEY *key)
{
    uint8_t request[REQUEST_BYTES];
    size_t size = encode_request(attempt, key, request, sizeof request);
    int taken = 0;

    if (size == 0) {
        return fail(attempt, EXCHANGE_REFUSED, "cannot make a certificate request");
    }
    do {
        ERR_clear_error();
        taken = SSL_write(attempt->ssl, request, (int)size);
    } while (taken <= 0 && wait_for_tls(attempt, taken));
    OPENSSL_cleanse(request, sizeof request);
    return taken == (int)size ? EXCHANGE_GRANTED : fail(attempt, EXCHANGE_RETRY, "connection lost");
}

/* --- the answer --------------------------------------------------------------------------------------------------- */

static enum exchange_outcome read_answer(const struct attempt *attempt, yggdrasil_device_v1_EnrolResponse *answer)
{
    static uint8_t bytes[ANSWER_BYTES + YGG_PREFIX_BYTES];
    struct ygg_frame frame = {0};
    enum ygg_err err = YGG_ERR_AGAIN;
    size_t size = 0;

    while ((err = ygg_frame_find(bytes, size, ANSWER_BYTES, &frame)) == YGG_ERR_AGAIN) {
        ERR_clear_error();
        int got = SSL_read(attempt->ssl, bytes + size, (int)(sizeof bytes - size));

        if (got > 0) {
            size += (size_t)got;
        } else if (!wait_for_tls(attempt, got)) {
            return fail(attempt, EXCHANGE_RETRY, "the registry did not answer");
        }
    }
    pb_istream_t in = pb_istream_from_buffer(bytes + frame.offset, frame.length);
    if (err != YGG_OK || !pb_decode(&in, yggdrasil_device_v1_EnrolResponse_fields, answer)) {
        return fail(attempt, EXCHANGE_REFUSED,
                    "the response is too long or not an EnrolResponse; ask the operator of the registry");
    }
    return EXCHANGE_GRANTED;
}

/* Returns advice for a rejection. */
static const char *advise(yggdrasil_device_v1_EnrolRefusedCode code)
{
    switch (code) {
    case yggdrasil_device_v1_EnrolRefusedCode_ENROL_REFUSED_CODE_TOKEN_UNKNOWN:
    case yggdrasil_device_v1_EnrolRefusedCode_ENROL_REFUSED_CODE_TOKEN_EXPIRED:
        return "Make a new token: ygg device token";
    case yggdrasil_device_v1_EnrolRefusedCode_ENROL_REFUSED_CODE_TOKEN_USED:
        return "Another key has used this token. If that was not this device: ygg device revoke, then ygg device token";
    case yggdrasil_device_v1_EnrolRefusedCode_ENROL_REFUSED_CODE_NOT_ACTIVE:
        return "The device is suspended or retired: see ygg device show";
    case yggdrasil_device_v1_EnrolRefusedCode_ENROL_REFUSED_CODE_MALFORMED:
        return "The registry cannot parse this request: update ygg-agent and the mesh to the same version";
    default:
        return "Try again later";
    }
}

static enum exchange_outcome interpret_answer(const struct attempt *attempt, struct exchange_answer *answer)
{
    const yggdrasil_device_v1_EnrolRefused *refused = &answer->message.outcome.refused;
    char message[sizeof refused->message + 64]; /* Some room for escapes. */

    if (answer->message.which_outcome == yggdrasil_device_v1_EnrolResponse_granted_tag) {
        return EXCHANGE_GRANTED;
    }
    if (answer->message.which_outcome != yggdrasil_device_v1_EnrolResponse_refused_tag) {
        return fail(attempt, EXCHANGE_REFUSED, "the response is empty; ask the operator of the registry");
    }
    posix_printable(message, sizeof message, refused->message);
    (void)snprintf(attempt->reason, IDENTITY_REASON_BYTES, "%s: refused, code %d: %s. %s", attempt->token->address,
                   (int)refused->code, message, advise(refused->code));
    if (refused->code == yggdrasil_device_v1_EnrolRefusedCode_ENROL_REFUSED_CODE_UNAVAILABLE) {
        answer->retry_after_ms = refused->retry_after_ms;
        return EXCHANGE_RETRY;
    }
    return EXCHANGE_REFUSED;
}

enum exchange_outcome exchange(const struct token *token, EVP_PKEY *key, struct exchange_answer *answer,
                               char reason[IDENTITY_REASON_BYTES])
{
    struct attempt attempt = {.token = token, .until_ms = posix_now_ms() + TIMEOUT_MS, .fd = -1, .reason = reason};
    enum exchange_outcome outcome = open_tcp(&attempt);

    answer->retry_after_ms = 0;
    outcome = outcome == EXCHANGE_GRANTED ? open_tls(&attempt) : outcome;
    outcome = outcome == EXCHANGE_GRANTED ? send_request(&attempt, key) : outcome;
    outcome = outcome == EXCHANGE_GRANTED ? read_answer(&attempt, &answer->message) : outcome;
    outcome = outcome == EXCHANGE_GRANTED ? interpret_answer(&attempt, answer) : outcome;
    SSL_free(attempt.ssl);
    SSL_CTX_free(attempt.ctx);
    if (attempt.fd >= 0) {
        (void)close(attempt.fd);
    }
    ERR_clear_error();
    return outcome;
}
