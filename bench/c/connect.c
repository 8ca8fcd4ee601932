/* Mode connect: `count` clients, `window` of them connecting concurrently, until each is accepted: by CONNACK, by
 * ContractNotice, or with --tls-only by the first session ticket, which a server sends after it has verified the
 * client; then they disconnect. With --resume all reconnect with their tickets. With --hold they stay connected until
 * standard input ends. */
#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "modes.h"
#include "mqtt.h"

enum { IN_BYTES = 2048, EVENTS_A_TURN = 256, PATIENCE_MS = 30000 };
enum { BODY_REFUSED = 3, BODY_CONTRACT = 5, BODY_GOODBYE = 16 };
enum phase { IDLE, SHAKING, WAITING, IN, LOST };

struct client {
    struct identity identity;
    SSL *ssl;
    SSL_SESSION *ticket;
    enum phase phase;
    uint8_t in[IN_BYTES];
    size_t in_length;
    uint8_t *hello;
    size_t hello_length;
};

struct crowd {
    const struct options *options;
    SSL_CTX *ctx;
    struct client *clients;
    int epoll_fd;
    uint32_t next, in, lost, resumed;
};

static int keep_ticket(SSL *ssl, SSL_SESSION *session)
{
    struct client *client = SSL_get_app_data(ssl);

    SSL_SESSION_free(client->ticket);
    client->ticket = session;
    return 1; /* Takes ownership. */
}

static void read_hello(struct client *client, FILE *file)
{
    uint8_t head[4];

    if (fread(head, 1, sizeof head, file) != sizeof head) {
        die("too few hellos", NULL);
    }
    client->hello_length = (size_t)head[0] | (size_t)head[1] << 8U;
    client->hello = malloc(client->hello_length);
    if (client->hello == NULL || fread(client->hello, 1, client->hello_length, file) != client->hello_length) {
        die("truncated hello", NULL);
    }
}

static void make_clients(struct crowd *crowd)
{
    const struct options *options = crowd->options;
    FILE *hellos = options->hellos == NULL ? NULL : fopen(options->hellos, "rb");

    if (options->hellos != NULL && hellos == NULL) {
        die(options->hellos, strerror(errno));
    }
    for (uint32_t i = 0; i < options->count; i++) {
        struct client *client = &crowd->clients[i];
        char id[ID_BYTES];

        id_of(id, options, i);
        client->identity = tls_identity(options->identities, id);
        if (hellos != NULL) {
            read_hello(client, hellos);
        } else {
            client->hello = malloc(MQTT_PACKET_BYTES);
            client->hello_length = client->hello == NULL ? 0 : mqtt_connect(client->hello, id, true);
        }
    }
    if (hellos != NULL) {
        (void)fclose(hellos);
    }
}

static void start(struct crowd *crowd, uint32_t index)
{
    struct client *client = &crowd->clients[index];
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data = {.u32 = index}};
    int fd = tls_socket(crowd->options->port, false);

    client->ssl = tls_new(crowd->ctx, fd, &client->identity);
    client->phase = SHAKING;
    client->in_length = 0;
    if (SSL_set_app_data(client->ssl, client) != 1 ||
        (client->ticket != NULL && SSL_set_session(client->ssl, client->ticket) != 1) ||
        epoll_ctl(crowd->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        die("cannot start a client", strerror(errno));
    }
}

static void leave(struct client *client)
{
    int fd = SSL_get_fd(client->ssl);

    (void)SSL_shutdown(client->ssl);
    SSL_free(client->ssl);
    (void)close(fd);
    client->ssl = NULL;
}

static void lose(struct crowd *crowd, struct client *client)
{
    if (crowd->lost++ == 0) {
        (void)fprintf(stderr, "bench-peer: a client was not accepted (phase %d)\n", (int)client->phase);
        ERR_print_errors_fp(stderr);
    }
    leave(client);
    client->phase = LOST;
}

/* Read body number and length with prefix of the frame at `data`; false if it is incomplete. */
static bool frame_body(const uint8_t *data, size_t length, unsigned *body, size_t *total)
{
    size_t size = 0;
    size_t used = 0;

    do {
        if (used == length) {
            return false;
        }
        size |= (size_t)(data[used] & 0x7FU) << (7U * used);
    } while (data[used++] >= 0x80 && used < 3);
    if (size == 0 || length < used + size) {
        return false;
    }
    unsigned key = data[used] & 0x7FU;
    if (data[used] >= 0x80 && size > 1) {
        key |= (unsigned)(data[used + 1] & 0x7FU) << 7U;
    }
    *body = key >> 3U;
    *total = used + size;
    return true;
}

/* Process received data: IN, LOST or still WAITING. */
static enum phase judge(const struct crowd *crowd, struct client *client)
{
    unsigned body = 0;
    size_t total = 0;
    struct mqtt_packet packet;

    if (crowd->options->hellos == NULL) {
        if (!mqtt_parse(client->in, client->in_length, &packet)) {
            return WAITING;
        }
        return packet.type == MQTT_CONNACK && packet.body[1] == 0 ? IN : LOST;
    }
    while (frame_body(client->in, client->in_length, &body, &total)) {
        if (body == BODY_CONTRACT) {
            return IN;
        }
        if (body == BODY_REFUSED || body == BODY_GOODBYE) {
            return LOST;
        }
        client->in_length -= total;
        memmove(client->in, client->in + total, client->in_length);
    }
    return WAITING;
}

static bool blocked(const struct client *client, int result)
{
    int error = SSL_get_error(client->ssl, result);

    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

/* Advance a client with a readable or writable socket. */
static enum phase drive(struct crowd *crowd, struct client *client)
{
    ERR_clear_error();
    if (client->phase == SHAKING) {
        int done = SSL_do_handshake(client->ssl);

        if (done != 1) {
            return blocked(client, done) ? SHAKING : LOST;
        }
        if (!crowd->options->tls_only) {
            tls_write_all(client->ssl, client->hello, client->hello_length); /* Fits any socket buffer. */
        }
        client->phase = WAITING;
    }
    for (;;) {
        size_t got = 0;
        int done = SSL_read_ex(client->ssl, client->in + client->in_length, IN_BYTES - client->in_length, &got);

        if (done != 1 && !blocked(client, done)) {
            return LOST;
        }
        if (client->phase == IN) {
            if (done != 1) {
                return IN;
            }
            continue; /* Later data is ignored. */
        }
        client->in_length += got;
        if (crowd->options->tls_only) {
            return client->ticket != NULL ? IN : WAITING;
        }
        enum phase found = done == 1 ? judge(crowd, client) : WAITING;
        if (found != WAITING || done != 1) {
            return found;
        }
    }
}

static void advance(struct crowd *crowd, uint32_t index)
{
    struct client *client = &crowd->clients[index];
    enum phase before = client->phase;

    if (client->ssl == NULL) {
        return;
    }
    enum phase after = drive(crowd, client);
    if (after == LOST) {
        crowd->in -= before == IN;
        lose(crowd, client);
    } else if (after == IN && before != IN) {
        crowd->in++;
        crowd->resumed += (uint32_t)SSL_session_reused(client->ssl);
        if (crowd->options->tls_only) {
            leave(client); /* It sends no Hello and would occupy one of the listener's slots. */
        }
    }
    if (client->ssl != NULL) {
        client->phase = after;
    }
}

static void turn(struct crowd *crowd)
{
    struct epoll_event events[EVENTS_A_TURN];
    int count = epoll_wait(crowd->epoll_fd, events, EVENTS_A_TURN, PATIENCE_MS);

    if (count <= 0) {
        die("timeout: no progress", NULL);
    }
    for (int i = 0; i < count; i++) {
        advance(crowd, events[i].data.u32);
    }
}

/* Seconds from the first to the last client. */
static double connect_all(struct crowd *crowd)
{
    double started = now_s();

    crowd->next = crowd->in = crowd->lost = crowd->resumed = 0;
    while (crowd->in + crowd->lost < crowd->options->count) {
        while (crowd->next < crowd->options->count &&
               crowd->next - crowd->in - crowd->lost < crowd->options->window) {
            start(crowd, crowd->next++);
        }
        turn(crowd);
    }
    return now_s() - started;
}

static void report(const struct crowd *crowd, double seconds)
{
    (void)printf("{\"in\": %u, \"lost\": %u, \"resumed\": %u, \"seconds\": %.6f}\n", crowd->in, crowd->lost,
                 crowd->resumed, seconds);
    (void)fflush(stdout);
}

int mode_connect(const struct options *options)
{
    struct crowd crowd = {
        .options = options,
        .ctx = tls_context(options->ca, options->hellos != NULL || options->tls_only ? "einherjar/1" : NULL),
        .clients = calloc(options->count, sizeof *crowd.clients),
        .epoll_fd = epoll_create1(EPOLL_CLOEXEC),
    };

    if (crowd.clients == NULL || crowd.epoll_fd < 0) {
        die("no memory", NULL);
    }
    if (options->resume || options->tls_only) {
        (void)SSL_CTX_set_session_cache_mode(crowd.ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
        SSL_CTX_sess_set_new_cb(crowd.ctx, keep_ticket);
    }
    make_clients(&crowd);
    report(&crowd, connect_all(&crowd));
    if (options->resume) {
        for (uint32_t i = 0; i < options->count; i++) {
            if (crowd.clients[i].ssl != NULL) {
                leave(&crowd.clients[i]);
            }
        }
        (void)sleep(1); /* Let both ends finish the first connections. */
        report(&crowd, connect_all(&crowd));
    }
    if (options->hold) {
        char byte = 0;

        while (read(STDIN_FILENO, &byte, 1) > 0) {
        }
    }
    return crowd.lost == 0 ? 0 : 1;
}
