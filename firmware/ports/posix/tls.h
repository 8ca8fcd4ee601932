/* The transport: non-blocking TCP and TLS 1.3 with mutual authentication, by OpenSSL.
 *
 * The peer must be the bridge: its chain leads to --ca, and its URI SAN is ygg://<our tenant>/service/jotunheim_bridge.
 * A session ticket (RFC 8446, section 4.6.1) is kept for the next connection; the peer's identity is checked each time.
 * Enforces the record size that the device declares, as a small device's TLS library would. */
#ifndef YGG_PORTS_POSIX_TLS_H
#define YGG_PORTS_POSIX_TLS_H

#include "ports/posix/identity.h"
#include "ports/posix/platform.h"
#include "ports/posix/resolve.h"

/* Shared by all connections of the process. */
struct tls_client {
    SSL_CTX *ctx;
    const char *ca_path;
    uint32_t record_bytes_max; /* Plaintext. */
    int epoll_fd;              /* Watches the sockets, edge-triggered, in both directions. */
    bool resume;               /* Keep and use tickets. */
    struct resolved resolved;
};

enum tls_phase { TLS_IDLE, TLS_CONNECTING, TLS_HANDSHAKE, TLS_READY };

/* One device's connection; the transport's context. */
struct tls_connection {
    struct tls_client *client;
    const struct identity *identity;
    struct posix_platform *platform; /* For log lines. */
    uint64_t epoll_tag;
    enum tls_phase phase;
    int fd; /* -1: none. */
    SSL *ssl;
    SSL_SESSION *ticket;    /* For the next connection; NULL: none. */
    uint32_t begun;         /* Connection attempts. */
    uint64_t begun_ms;      /* Start of the latest attempt. */
    uint32_t resumed;       /* Connections that resumed a session. */
    size_t address_index;   /* Index of the next resolved address. */
    bool identity_changed;  /* The open session began with another certificate: its tickets are discarded. */
    bool record_too_long;   /* The peer exceeded record_bytes_max. */
    const char *wrong_peer; /* Why the peer is not the bridge; NULL if it is. */
};

extern const struct ygg_transport tls_transport;

/* Returns false and a `reason` if the CA file is invalid. */
bool tls_client_init(struct tls_client *client, const char *ca_path, uint32_t record_bytes_max, int epoll_fd,
                     bool resume, char reason[IDENTITY_REASON_BYTES]);
void tls_client_free(struct tls_client *client);

/* Switches to a new certificate from the next connection on, which does not resume. */
void tls_identity_changed(struct tls_connection *connection);

/* Closes the connection and discards its ticket. */
void tls_connection_free(struct tls_connection *connection);

#endif
