#include "tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { PATH_BYTES = 4096 };

_Noreturn void die(const char *what, const char *detail)
{
    (void)fprintf(stderr, "bench-peer: %s: %s\n", what, detail != NULL ? detail : "");
    ERR_print_errors_fp(stderr);
    exit(1);
}

SSL_CTX *tls_context(const char *ca_path, const char *alpn)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    if (ctx == NULL || SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
        SSL_CTX_load_verify_locations(ctx, ca_path, NULL) != 1) {
        die("cannot set up TLS with", ca_path);
    }
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    (void)SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
    (void)SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                    SSL_MODE_RELEASE_BUFFERS);
    if (alpn != NULL) {
        unsigned char wire[64];
        size_t length = strlen(alpn);

        if (length >= sizeof wire) {
            die("ALPN is too long", alpn);
        }
        wire[0] = (unsigned char)length;
        memcpy(wire + 1, alpn, length);
        if (SSL_CTX_set_alpn_protos(ctx, wire, (unsigned int)length + 1) != 0) {
            die("cannot set ALPN", alpn);
        }
    }
    return ctx;
}

static FILE *open_in(const char *directory, const char *id, const char *name)
{
    char path[PATH_BYTES];

    (void)snprintf(path, sizeof path, "%s/%s/%s", directory, id, name);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        die(path, strerror(errno));
    }
    return file;
}

struct identity tls_identity(const char *directory, const char *id)
{
    FILE *cert = open_in(directory, id, "cert.pem");
    FILE *key = open_in(directory, id, "key.pem");
    struct identity identity = {
        .leaf = PEM_read_X509(cert, NULL, NULL, NULL),
        .chain = sk_X509_new_null(),
        .key = PEM_read_PrivateKey(key, NULL, NULL, NULL),
    };
    X509 *issuer = NULL;

    if (identity.leaf == NULL || identity.chain == NULL || identity.key == NULL) {
        die("cannot read the identity of", id);
    }
    while ((issuer = PEM_read_X509(cert, NULL, NULL, NULL)) != NULL) {
        if (sk_X509_push(identity.chain, issuer) == 0) {
            die("no memory for", id);
        }
    }
    ERR_clear_error(); /* End of file is not an error. */
    (void)fclose(cert);
    (void)fclose(key);
    return identity;
}

int tls_socket(uint16_t port, bool blocking)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (blocking ? 0 : SOCK_NONBLOCK), 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0) {
        die("socket", strerror(errno));
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS) {
        die("connect", strerror(errno));
    }
    return fd;
}

SSL *tls_new(SSL_CTX *ctx, int fd, const struct identity *identity)
{
    SSL *ssl = SSL_new(ctx);

    if (ssl == NULL || SSL_set_fd(ssl, fd) != 1 ||
        SSL_use_cert_and_key(ssl, identity->leaf, identity->key, identity->chain, 1) != 1 ||
        SSL_set1_host(ssl, "localhost") != 1 || SSL_set_tlsext_host_name(ssl, "localhost") != 1) {
        die("cannot make a TLS connection", NULL);
    }
    SSL_set_connect_state(ssl);
    return ssl;
}

SSL *tls_dial(SSL_CTX *ctx, uint16_t port, const struct identity *identity)
{
    SSL *ssl = tls_new(ctx, tls_socket(port, true), identity);

    if (SSL_connect(ssl) != 1) {
        die("TLS handshake failed", NULL);
    }
    return ssl;
}

void tls_write_all(SSL *ssl, const uint8_t *data, size_t length)
{
    size_t sent = 0;

    while (sent < length) {
        size_t part = 0;

        if (SSL_write_ex(ssl, data + sent, length - sent, &part) != 1) {
            die("write failed: closed by the peer", NULL);
        }
        sent += part;
    }
}

void tls_read_all(SSL *ssl, uint8_t *data, size_t length)
{
    size_t got = 0;

    while (got < length) {
        size_t part = 0;

        if (SSL_read_ex(ssl, data + got, length - got, &part) != 1) {
            die("connection closed by the peer", NULL);
        }
        got += part;
    }
}

double now_s(void)
{
    struct timespec now = {0};

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}
