#include "ports/posix/tls.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* RFC 7301 wire form: one length byte, then the name. */
#ifndef YGG_LINK_ALPN /* Overridden, at the same length, for images that no bridge accepts. */
#define YGG_LINK_ALPN "einherjar/1"
#endif
static const unsigned char alpn[] = "\x0b" YGG_LINK_ALPN;
enum { ALPN_BYTES = sizeof alpn - 1 };

/* RFC 8446, section 5.2: a protected record holds its content type and the 16 bytes of the AEAD tag as well. */
enum { RECORD_OVERHEAD_BYTES = 17 };

static const char bridge_service[] = "jotunheim_bridge";

static void log_failure(const struct tls_connection *connection, const char *reason, const char *detail)
{
    const struct ygg_log_field fields[] = {{.key = "reason", .text = reason}, {.key = "detail", .text = detail}};

    posix_platform.log(connection->platform, YGG_LOG_WARNING, "connection_failed", fields, detail == NULL ? 1 : 2);
}

/* Returns why a certificate is not that of our bridge; NULL if it is. */
static const char *find_fault(const struct tls_connection *connection, const X509 *certificate)
{
    struct identity_name name;

    if (certificate == NULL || !identity_of(certificate, &name)) {
        return "the peer's certificate has no ygg:// identity";
    }
    if (strcmp(name.kind, "service") != 0 || strcmp(name.id, bridge_service) != 0) {
        return "the peer is not a bridge: its certificate is for something else";
    }
    if (strcmp(name.tenant, connection->identity->name.tenant) != 0) {
        return "the bridge belongs to another tenant";
    }
    return NULL;
}

/* Called for each certificate of the peer's chain, the peer's own last (depth 0). */
static int verify_peer(int ok, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_connection *connection = SSL_get_app_data(ssl);

    if (!ok || X509_STORE_CTX_get_error_depth(store) > 0) {
        return ok;
    }
    connection->wrong_peer = find_fault(connection, X509_STORE_CTX_get_current_cert(store));
    if (connection->wrong_peer == NULL) {
        return 1;
    }
    X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
    return 0;
}

/* OpenSSL accepts records of 16 KB; the simulated device does not. */
static void watch_records(int sent, int version, int type, const void *data, size_t length, SSL *ssl, void *arg)
{
    const unsigned char *header = data;
    struct tls_connection *connection = SSL_get_app_data(ssl);

    (void)version;
    (void)arg;
    if (sent || type != SSL3_RT_HEADER || length < SSL3_RT_HEADER_LENGTH || connection == NULL) {
        return;
    }
    size_t size = (size_t)header[3] << 8U | header[4];
    if (size > connection->client->record_bytes_max + RECORD_OVERHEAD_BYTES) {
        connection->record_too_long = true;
    }
}

static void forget_ticket(struct tls_connection *connection)
{
    SSL_SESSION_free(connection->ticket);
    connection->ticket = NULL;
}

void tls_identity_changed(struct tls_connection *connection)
{
    forget_ticket(connection);
    connection->identity_changed = true;
}

/* Keeps a ticket of the bridge. Returns 1 if it takes ownership. */
static int keep_ticket(SSL *ssl, SSL_SESSION *ticket)
{
    struct tls_connection *connection = SSL_get_app_data(ssl);

    if (connection == NULL || connection->identity_changed) {
        return 0;
    }
    forget_ticket(connection);
    connection->ticket = ticket;
    return 1;
}

static bool configure(SSL_CTX *ctx, const char *ca_path, bool resume)
{
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, verify_peer);
    SSL_CTX_set_msg_callback(ctx, watch_records);
    (void)SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
    (void)SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                    SSL_MODE_RELEASE_BUFFERS);
    (void)SSL_CTX_set_session_cache_mode(ctx, resume ? SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL
                                                     : SSL_SESS_CACHE_OFF);
    if (resume) {
        SSL_CTX_sess_set_new_cb(ctx, keep_ticket);
    }
    return SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_alpn_protos(ctx, alpn, ALPN_BYTES) == 0 &&
           SSL_CTX_load_verify_locations(ctx, ca_path, NULL) == 1;
}

bool tls_client_init(struct tls_client *client, const char *ca_path, uint32_t record_bytes_max, int epoll_fd,
                     bool resume, char reason[IDENTITY_REASON_BYTES])
{
    *client = (struct tls_client){
        .ctx = SSL_CTX_new(TLS_client_method()),
        .ca_path = ca_path,
        .record_bytes_max = record_bytes_max,
        .epoll_fd = epoll_fd,
        .resume = resume,
    };
    if (client->ctx == NULL || !configure(client->ctx, ca_path, resume)) {
        (void)snprintf(reason, IDENTITY_REASON_BYTES,
                       "cannot use --ca %s: it must be a readable PEM file with the CA of the bridge's certificate",
                       ca_path);
        return false;
    }
    return true;
}

void tls_client_free(struct tls_client *client)
{
    SSL_CTX_free(client->ctx);
    client->ctx = NULL;
}

static void tls_close(void *ctx)
{
    struct tls_connection *connection = ctx;

    if (connection->ssl != NULL) {
        if (connection->phase == TLS_READY) {
            (void)SSL_shutdown(connection->ssl); /* close_notify, if the socket accepts it. */
            /* A broken link does not invalidate its ticket; by default OpenSSL would. */
            SSL_set_shutdown(connection->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        }
        SSL_free(connection->ssl);
        connection->ssl = NULL;
    }
    if (connection->fd >= 0) {
        (void)close(connection->fd); /* Also removes it from epoll. */
        connection->fd = -1;
    }
    connection->phase = TLS_IDLE;
    ERR_clear_error();
}

void tls_connection_free(struct tls_connection *connection)
{
    tls_close(connection);
    forget_ticket(connection);
}

static bool watch(const struct tls_connection *connection)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data = {.u64 = connection->epoll_tag}};

    return epoll_ctl(connection->client->epoll_fd, EPOLL_CTL_ADD, connection->fd, &event) == 0;
}

/* Starts to connect to the next resolved address. */
static enum ygg_err start_tcp(struct tls_connection *connection)
{
    const struct resolved *resolved = &connection->client->resolved;
    int on = 1;

    if (connection->address_index >= resolved->count) {
        return YGG_ERR_IO;
    }
    const struct sockaddr *address = (const struct sockaddr *)&resolved->at[connection->address_index].address;
    socklen_t length = resolved->at[connection->address_index].length;
    connection->address_index++;
    connection->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection->fd < 0 || !watch(connection)) {
        log_failure(connection, "cannot make a socket", strerror(errno));
        return YGG_ERR_IO;
    }
    (void)setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* Best effort. */
    if (connect(connection->fd, address, length) == 0 || errno == EINPROGRESS) {
        connection->phase = TLS_CONNECTING;
        return YGG_ERR_AGAIN;
    }
    return YGG_ERR_IO;
}

static enum ygg_err start(struct tls_connection *connection, const char *address)
{
    connection->begun++;
    connection->begun_ms = posix_now_ms();
    const char *failed = resolve(&connection->client->resolved, address, connection->begun_ms);

    connection->address_index = 0;
    connection->record_too_long = false;
    connection->wrong_peer = NULL;
    if (failed != NULL) {
        log_failure(connection, "cannot resolve the bridge's address", failed);
        return YGG_ERR_IO;
    }
    return YGG_OK;
}

/* Tries each address of a host: "localhost" may be ::1 first. */
static enum ygg_err next_address(struct tls_connection *connection, int failure)
{
    enum ygg_err err = YGG_ERR_IO;

    while (err == YGG_ERR_IO && connection->address_index < connection->client->resolved.count) {
        tls_close(connection);
        errno = 0;
        err = start_tcp(connection);
        failure = errno != 0 ? errno : failure;
    }
    if (err == YGG_ERR_IO) {
        connection->client->resolved.until_ms = 0;
        log_failure(connection, "cannot connect to the bridge's address: connection refused or network down",
                    strerror(failure));
    }
    return err;
}

static bool make_ssl(struct tls_connection *connection)
{
    const struct identity *identity = connection->identity;
    SSL *ssl = SSL_new(connection->client->ctx);

    connection->identity_changed = false;
    connection->ssl = ssl;
    return ssl != NULL && SSL_set_app_data(ssl, connection) == 1 && SSL_set_fd(ssl, connection->fd) == 1 &&
           SSL_use_cert_and_key(ssl, identity->certificate, identity->key, identity->chain, 1) == 1 &&
           SSL_set_tlsext_host_name(ssl, connection->client->resolved.host) == 1 &&
           (connection->ticket == NULL || SSL_set_session(ssl, connection->ticket) == 1);
}

static enum ygg_err check_tcp(struct tls_connection *connection)
{
    int failure = 0;
    socklen_t length = sizeof failure;
    struct sockaddr_storage peer;
    socklen_t peer_length = sizeof peer;

    if (getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &failure, &length) != 0) {
        failure = errno;
    }
    if (failure != 0) {
        return next_address(connection, failure);
    }
    if (getpeername(connection->fd, (struct sockaddr *)&peer, &peer_length) != 0) {
        return YGG_ERR_AGAIN; /* Still connecting. */
    }
    if (!make_ssl(connection)) {
        log_failure(connection, "cannot set up TLS", ERR_reason_error_string(ERR_peek_last_error()));
        return YGG_ERR_IO;
    }
    connection->phase = TLS_HANDSHAKE;
    return YGG_OK;
}

/* Explains common TLS failures and their remedy. */
static const char *explain(const struct tls_connection *connection)
{
    if (connection->wrong_peer != NULL) {
        return connection->wrong_peer;
    }
    if (connection->record_too_long) {
        return "the bridge sent a TLS record longer than this device's limit";
    }
    switch (connection->ssl == NULL ? X509_V_OK : SSL_get_verify_result(connection->ssl)) {
    case X509_V_OK:
        break;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return "the bridge's certificate is not yet valid by this device's clock, which is behind: set the clock";
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return "the bridge's certificate has expired by this device's clock: set the clock if it is ahead, else renew "
               "the certificate";
    default:
        return "the bridge's certificate does not lead to --ca: use the CA file of the mesh you connect to";
    }
    switch (ERR_GET_REASON(ERR_peek_error())) {
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
        return "the bridge does not know the CA of this device's certificate: issue it with the mesh's own PKI";
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
        return "the bridge says that this device's certificate has expired: issue another";
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
        return "the bridge refused this device's certificate";
    case SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL:
    case SSL_R_WRONG_VERSION_NUMBER:
        return "the peer does not speak einherjar/1: is this the bridge's link port (7443)?";
    default:
        return "TLS failed";
    }
}

static const char *detail_of(const struct tls_connection *connection)
{
    long verified = connection->ssl == NULL ? X509_V_OK : SSL_get_verify_result(connection->ssl);

    if (verified != X509_V_OK && connection->wrong_peer == NULL) {
        return X509_verify_cert_error_string(verified);
    }
    return ERR_reason_error_string(ERR_peek_error());
}

static bool speaks_einherjar(const SSL *ssl)
{
    const unsigned char *chosen = NULL;
    unsigned int length = 0;

    SSL_get0_alpn_selected(ssl, &chosen, &length);
    return length == ALPN_BYTES - 1 && memcmp(chosen, alpn + 1, length) == 0;
}

/* A resumed session sends no certificates, so the ones of the original handshake are verified again. Returns false, and
 * logs, if they are no longer valid. */
static bool verify_resumed_peer(struct tls_connection *connection)
{
    const X509 *certificate = SSL_get0_peer_certificate(connection->ssl);
    const char *fault = find_fault(connection, certificate);

    if (fault == NULL && X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0) {
        fault = "the bridge's certificate has expired since the session began";
    }
    if (fault != NULL) {
        forget_ticket(connection);
        log_failure(connection, fault, NULL);
        return false;
    }
    return true;
}

static enum ygg_err handshake(struct tls_connection *connection)
{
    ERR_clear_error();
    int done = SSL_connect(connection->ssl);
    int error = SSL_get_error(connection->ssl, done);
    bool waiting = done != 1 && (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE);

    if (connection->record_too_long || (done != 1 && !waiting)) {
        const char *detail = detail_of(connection);

        forget_ticket(connection); /* The next attempt starts without a ticket. */
        log_failure(connection, explain(connection), detail != NULL ? detail : "the peer closed the connection");
        return YGG_ERR_IO;
    }
    if (waiting) {
        return YGG_ERR_AGAIN;
    }
    if (!speaks_einherjar(connection->ssl)) {
        log_failure(connection, "the peer does not speak einherjar/1: is this the bridge's link port (7443)?", NULL);
        return YGG_ERR_IO;
    }
    if (!verify_resumed_peer(connection)) {
        return YGG_ERR_IO;
    }
    connection->resumed += SSL_session_reused(connection->ssl) == 1 ? 1U : 0U;
    connection->phase = TLS_READY;
    return YGG_OK;
}

static enum ygg_err tls_connect(void *ctx, const char *address)
{
    struct tls_connection *connection = ctx;
    enum ygg_err err = YGG_OK;

    if (connection->phase == TLS_IDLE) {
        err = start(connection, address);
        return err == YGG_OK ? next_address(connection, 0) : err;
    }
    if (connection->phase == TLS_CONNECTING) {
        /* Another device may have replaced the single cache entry. */
        if (resolve(&connection->client->resolved, address, 0) != NULL) {
            return YGG_ERR_IO;
        }
        err = check_tcp(connection);
    }
    return err == YGG_OK ? handshake(connection) : err;
}

/* Returns the error of a failed read or write. */
static int32_t classify(const struct tls_connection *connection, int result)
{
    switch (SSL_get_error(connection->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return connection->record_too_long ? YGG_ERR_IO : YGG_ERR_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return YGG_ERR_CLOSED;
    case SSL_ERROR_SSL:
        log_failure(connection, explain(connection), ERR_reason_error_string(ERR_peek_error()));
        return YGG_ERR_IO;
    default:
        return YGG_ERR_IO;
    }
}

static int32_t tls_read(void *ctx, uint8_t *buffer, size_t size)
{
    struct tls_connection *connection = ctx;

    ERR_clear_error();
    int got = SSL_read(connection->ssl, buffer, size < INT32_MAX ? (int)size : INT32_MAX);
    if (connection->record_too_long) {
        log_failure(connection, explain(connection), NULL);
        return YGG_ERR_IO;
    }
    return got > 0 ? got : classify(connection, got);
}

static int32_t tls_write(void *ctx, const uint8_t *data, size_t size)
{
    struct tls_connection *connection = ctx;

    ERR_clear_error();
    int taken = SSL_write(connection->ssl, data, size < INT32_MAX ? (int)size : INT32_MAX);
    return taken > 0 ? taken : classify(connection, taken);
}

const struct ygg_transport tls_transport = {
    .connect = tls_connect,
    .read = tls_read,
    .write = tls_write,
    .close = tls_close,
};
