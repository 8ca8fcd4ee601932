/* Mode download: `count` clients, connected beforehand including the handshake, request `--to PATH` by HTTP/1.1 concurrently
 * and read until each has the whole file. Each hashes its data, and all digests must be equal: the SHA-256 is printed, with
 * the seconds from the first request to the last byte. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "modes.h"

enum { HEAD_BYTES = 1024, IN_BYTES = 16384, EVENTS_A_TURN = 256, RECORDS_A_TURN = 8, PATIENCE_MS = 60000 };

struct client {
    SSL *ssl;
    EVP_MD_CTX *hash;
    char head[HEAD_BYTES];
    size_t head_length;
    bool in_body;
    uint64_t left;
    uint8_t digest[32];
};

struct crowd {
    struct client *clients;
    uint32_t count, done;
    uint64_t bytes;
    int epoll_fd;
};

static void dial(struct crowd *crowd, SSL_CTX *ctx, const struct options *options, uint32_t index)
{
    struct client *client = &crowd->clients[index];
    struct epoll_event event = {.events = EPOLLIN, .data = {.u32 = index}};
    char id[ID_BYTES];

    id_of(id, options, index);
    struct identity identity = tls_identity(options->identities, id);
    client->ssl = tls_dial(ctx, options->port, &identity);
    client->hash = EVP_MD_CTX_new();
    int fd = SSL_get_fd(client->ssl);
    if (client->hash == NULL || EVP_DigestInit_ex(client->hash, EVP_sha256(), NULL) != 1 ||
        fcntl(fd, F_SETFL, O_NONBLOCK) != 0 || epoll_ctl(crowd->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        die("cannot set up a client", strerror(errno));
    }
    X509_free(identity.leaf);
    EVP_PKEY_free(identity.key);
    sk_X509_pop_free(identity.chain, X509_free);
}

static void ask(const struct crowd *crowd, const char *path)
{
    char request[HEAD_BYTES];
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path);

    for (uint32_t i = 0; i < crowd->count; i++) {
        tls_write_all(crowd->clients[i].ssl, (const uint8_t *)request, (size_t)length);
    }
}

static void take_body(struct crowd *crowd, struct client *client, const uint8_t *data, size_t size)
{
    if (size > client->left || EVP_DigestUpdate(client->hash, data, size) != 1) {
        die("more bytes than announced", NULL);
    }
    client->left -= size;
    crowd->bytes += size;
    if (client->left == 0) {
        crowd->done++;
        if (EVP_DigestFinal_ex(client->hash, client->digest, NULL) != 1) {
            die("cannot hash", NULL);
        }
    }
}

/* Read the response header, byte by byte up to the empty line. Returns its number of bytes in `data`. */
static size_t take_head(struct client *client, const uint8_t *data, size_t size)
{
    size_t used = 0;

    while (used < size && !client->in_body) {
        if (client->head_length + 1 == HEAD_BYTES) {
            die("response header too long", client->head);
        }
        client->head[client->head_length++] = (char)data[used++];
        client->in_body = client->head_length >= 4 && memcmp(client->head + client->head_length - 4, "\r\n\r\n", 4) == 0;
    }
    if (client->in_body) {
        const char *length = strstr(client->head, "Content-Length: ");

        if (strncmp(client->head, "HTTP/1.1 200", 12) != 0 || length == NULL) {
            die("unexpected response", client->head);
        }
        client->left = strtoull(length + 16, NULL, 10);
    }
    return used;
}

/* Read a few records, so that every client gets its turn. */
static void serve(struct crowd *crowd, struct client *client)
{
    uint8_t in[IN_BYTES];

    for (int records = 0; records < RECORDS_A_TURN; records++) {
        size_t got = 0;

        ERR_clear_error();
        if (SSL_read_ex(client->ssl, in, sizeof in, &got) != 1) {
            if (SSL_get_error(client->ssl, 0) != SSL_ERROR_WANT_READ) {
                die("connection closed by the server", NULL);
            }
            return;
        }
        size_t used = client->in_body ? 0 : take_head(client, in, got);
        if (used < got) {
            take_body(crowd, client, in + used, got - used);
        }
    }
}

static void print_result(const struct crowd *crowd, double seconds)
{
    (void)printf("{\"seconds\": %.6f, \"bytes\": %llu, \"sha256\": \"", seconds, (unsigned long long)crowd->bytes);
    for (size_t i = 0; i < sizeof crowd->clients[0].digest; i++) {
        (void)printf("%02x", crowd->clients[0].digest[i]);
    }
    (void)printf("\"}\n");
    (void)fflush(stdout);
}

int mode_download(const struct options *options)
{
    SSL_CTX *ctx = tls_context(options->ca, NULL);
    struct crowd crowd = {.clients = calloc(options->count, sizeof *crowd.clients), .count = options->count,
                          .epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
    struct epoll_event events[EVENTS_A_TURN];

    if (crowd.clients == NULL || crowd.epoll_fd < 0 || options->to == NULL) {
        die("download needs --to PATH", NULL);
    }
    for (uint32_t i = 0; i < crowd.count; i++) {
        dial(&crowd, ctx, options, i);
    }
    double started = now_s();
    ask(&crowd, options->to);
    while (crowd.done < crowd.count) {
        int ready = epoll_wait(crowd.epoll_fd, events, EVENTS_A_TURN, PATIENCE_MS);

        if (ready <= 0) {
            die("timeout: no data", NULL);
        }
        for (int i = 0; i < ready; i++) {
            serve(&crowd, &crowd.clients[events[i].data.u32]);
        }
    }
    double seconds = now_s() - started;
    for (uint32_t i = 1; i < crowd.count; i++) {
        if (memcmp(crowd.clients[i].digest, crowd.clients[0].digest, sizeof crowd.clients[0].digest) != 0) {
            die("clients got different bytes", NULL);
        }
    }
    print_result(&crowd, seconds);
    return EXIT_SUCCESS;
}
