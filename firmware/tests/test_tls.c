/* TLS resumption: no certificate crosses the wire, so the agent verifies the certificate of the original session again.
 * Certificates are generated here, the server is OpenSSL on loopback. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ports/posix/tls.h"
#include "tests/check.h"
#include "tests/suites.h"

enum { PATIENCE_MS = 10000, YEAR_S = 365 * 24 * 3600 };

static EVP_PKEY *key;
static int listener = -1;
static char address[32];

static X509 *make_certificate(const char *uri, long ends_in_s)
{
    X509 *certificate = X509_new();
    char value[128];

    (void)snprintf(value, sizeof value, "URI:%s", uri);
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, value);
    CHECK(X509_set_version(certificate, X509_VERSION_3) == 1);
    CHECK(ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1) == 1);
    CHECK(X509_gmtime_adj(X509_getm_notBefore(certificate), -YEAR_S) != NULL);
    CHECK(X509_gmtime_adj(X509_getm_notAfter(certificate), ends_in_s) != NULL);
    CHECK(X509_set_pubkey(certificate, key) == 1);
    CHECK(X509_add_ext(certificate, names, -1) == 1);
    CHECK(X509_sign(certificate, key, EVP_sha256()) > 0);
    X509_EXTENSION_free(names);
    return certificate;
}

static void listen_somewhere(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof at;

    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    CHECK(bind(listener, (struct sockaddr *)&at, sizeof at) == 0 && listen(listener, 4) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&at, &length) == 0);
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", ntohs(at.sin_port));
}

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_length, const unsigned char *in,
                       unsigned int in_length, void *arg)
{
    (void)ssl;
    (void)in_length;
    (void)arg;
    *out = in + 1; /* The first one offered. */
    *out_length = in[0];
    return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *make_server(X509 *certificate)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

    CHECK(SSL_CTX_use_certificate(ctx, certificate) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1);
    SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, NULL);
    return ctx;
}

/* Steps the server's side of the connection; it sends a byte once it can, so that tickets are read. */
static void serve(SSL_CTX *server, SSL **ssl)
{
    if (*ssl == NULL) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0) {
            return;
        }
        *ssl = SSL_new(server);
        CHECK(SSL_set_fd(*ssl, fd) == 1);
    }
    if (!SSL_is_init_finished(*ssl) && SSL_accept(*ssl) == 1) {
        CHECK(SSL_write(*ssl, "!", 1) == 1);
    }
    ERR_clear_error();
}

static void hang_up(SSL **ssl)
{
    if (*ssl != NULL) {
        int fd = SSL_get_fd(*ssl);

        SSL_free(*ssl);
        (void)close(fd);
        *ssl = NULL;
    }
}

static SSL_SESSION *given;

static int take_ticket(SSL *ssl, SSL_SESSION *ticket)
{
    (void)ssl;
    SSL_SESSION_free(given);
    given = ticket;
    return 1;
}

/* Returns a ticket of that server, obtained by a client that does not authenticate it. */
static SSL_SESSION *get_ticket(SSL_CTX *server)
{
    static const unsigned char alpn[] = "\x0b"
                                        "einherjar/1";
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *theirs = NULL;
    struct sockaddr_in at;
    socklen_t length = sizeof at;
    char byte = 0;

    given = NULL;
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, take_ticket);
    CHECK(SSL_CTX_set_alpn_protos(ctx, alpn, sizeof alpn - 1) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&at, &length) == 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(connect(fd, (struct sockaddr *)&at, sizeof at) == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    SSL *ours = SSL_new(ctx);
    CHECK(SSL_set_fd(ours, fd) == 1);
    SSL_set_connect_state(ours);
    for (uint64_t end = posix_now_ms() + PATIENCE_MS; posix_now_ms() < end && SSL_read(ours, &byte, 1) != 1;) {
        serve(server, &theirs);
    }
    CHECK_EQ(byte, '!');
    hang_up(&theirs);
    SSL_set_shutdown(ours, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* Otherwise the ticket would be invalid. */
    SSL_free(ours);
    (void)close(fd);
    SSL_CTX_free(ctx);
    return given;
}

/* Returns the result of the transport for a session that is resumed with a bridge that has `certificate`. */
static enum ygg_err resume(X509 *certificate, const struct identity *identity, uint32_t *resumed)
{
    struct posix_platform platform = {.device_id = "porch-1", .log_level = (enum ygg_log_level)(YGG_LOG_WARNING + 1)};
    struct tls_client client = {.ctx = SSL_CTX_new(TLS_client_method()),
                                .record_bytes_max = 4096,
                                .resume = true,
                                .epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
    static const unsigned char alpn[] = "\x0b"
                                        "einherjar/1";
    SSL_CTX *server = make_server(certificate);
    struct tls_connection connection = {
        .client = &client, .identity = identity, .platform = &platform, .fd = -1, .ticket = get_ticket(server)};
    SSL *theirs = NULL;
    enum ygg_err err = YGG_ERR_AGAIN;

    CHECK(connection.ticket != NULL && SSL_SESSION_is_resumable(connection.ticket) == 1);
    CHECK(SSL_CTX_set_alpn_protos(client.ctx, alpn, sizeof alpn - 1) == 0);
    for (uint64_t end = posix_now_ms() + PATIENCE_MS; posix_now_ms() < end && err == YGG_ERR_AGAIN;) {
        err = tls_transport.connect(&connection, address);
        serve(server, &theirs);
    }
    for (uint64_t end = posix_now_ms() + PATIENCE_MS;
         posix_now_ms() < end && theirs != NULL && !SSL_is_init_finished(theirs);) {
        serve(server, &theirs);
    }
    CHECK(theirs != NULL && SSL_session_reused(theirs) == 1); /* Precondition of the test. */
    CHECK(err == YGG_OK || connection.ticket == NULL);        /* The next attempt has no ticket. */
    *resumed = connection.resumed;
    tls_connection_free(&connection);
    hang_up(&theirs);
    SSL_CTX_free(server);
    (void)close(client.epoll_fd);
    tls_client_free(&client);
    return err;
}

static void a_resumed_session_verifies_its_original_certificate(void)
{
    static const struct {
        const char *uri;
        long ends_in_s;
        enum ygg_err err;
    } cases[] = {
        {"ygg://main/service/jotunheim_bridge", 3600, YGG_OK},
        {"ygg://main/service/jotunheim_bridge", -10, YGG_ERR_IO},   /* Expired since. */
        {"ygg://main/service/loki", 3600, YGG_ERR_IO},              /* Not a bridge. */
        {"ygg://other/service/jotunheim_bridge", 3600, YGG_ERR_IO}, /* Another tenant. */
        {"https://example.org/", 3600, YGG_ERR_IO},
    };
    key = EVP_EC_gen("P-256");
    X509 *ours = make_certificate("ygg://main/device/porch-1", 3600);
    const struct identity identity = {.certificate = ours, .key = key, .name = {.tenant = "main"}};

    listen_somewhere();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        X509 *certificate = make_certificate(cases[i].uri, cases[i].ends_in_s);
        uint32_t resumed = 0;

        CHECK_EQ(resume(certificate, &identity, &resumed), cases[i].err);
        CHECK_EQ(resumed, cases[i].err == YGG_OK ? 1 : 0);
        X509_free(certificate);
    }
    (void)close(listener);
    X509_free(ours);
    EVP_PKEY_free(key);
}

void suite_tls(void)
{
    RUN(a_resumed_session_verifies_its_original_certificate);
}
