/* TLS 1.3 clients with identities of the mesh's PKI, shared by all modes of bench-peer. */
#ifndef BENCH_TLS_H
#define BENCH_TLS_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct identity {
    X509 *leaf;
    STACK_OF(X509) *chain;
    EVP_PKEY *key;
};

/* Print a message and exit, for errors that invalidate a measurement. */
_Noreturn void die(const char *what, const char *detail);

/* Trusts the CA in `ca_path` itself, without its root. `alpn` may be NULL. */
SSL_CTX *tls_context(const char *ca_path, const char *alpn);

/* DIR/<id>/cert.pem and key.pem. */
struct identity tls_identity(const char *directory, const char *id);

/* A socket to 127.0.0.1:port without Nagle's delay, connecting. */
int tls_socket(uint16_t port, bool blocking);

SSL *tls_new(SSL_CTX *ctx, int fd, const struct identity *identity);

/* Connect and complete the handshake, blocking. */
SSL *tls_dial(SSL_CTX *ctx, uint16_t port, const struct identity *identity);

/* Blocking; die if the connection is closed. */
void tls_write_all(SSL *ssl, const uint8_t *data, size_t length);
void tls_read_all(SSL *ssl, uint8_t *data, size_t length);

/* Monotonic time in seconds. */
double now_s(void);

#endif
