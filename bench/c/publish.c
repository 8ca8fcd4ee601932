/* Mode publish: `count` clients send `messages` with QoS 1, each with at most `window` unacknowledged; timed from the
 * first PUBLISH to the last PUBACK, after all have connected. One thread, one epoll. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "modes.h"
#include "mqtt.h"

enum { IN_BYTES = 4096, OUT_BYTES = 65536, EVENTS_A_TURN = 256, PATIENCE_MS = 30000 };

struct publisher {
    SSL *ssl;
    char topic[MQTT_TOPIC_BYTES];
    uint32_t sent, acknowledged, quota;
    uint8_t in[IN_BYTES];
    size_t in_length;
    uint8_t out[OUT_BYTES];
    size_t out_length;
};

static void enter(struct publisher *publisher, const struct options *options, SSL_CTX *ctx, uint32_t index)
{
    char id[ID_BYTES];
    uint8_t connect[MQTT_PACKET_BYTES];
    uint8_t answer[4];

    id_of(id, options, index);
    struct identity identity = tls_identity(options->identities, id);
    publisher->ssl = tls_dial(ctx, options->port, &identity);
    tls_write_all(publisher->ssl, connect, mqtt_connect(connect, id, true));
    tls_read_all(publisher->ssl, answer, sizeof answer);
    if (answer[0] >> 4U != MQTT_CONNACK || answer[3] != 0) {
        die("refused by the broker", id);
    }
    (void)snprintf(publisher->topic, sizeof publisher->topic, "events/%s", id);
    publisher->quota = options->messages / options->count;
    int fd = SSL_get_fd(publisher->ssl);
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0) {
        die("fcntl", strerror(errno));
    }
}

static void fill(struct publisher *publisher, const struct options *options, const uint8_t *payload)
{
    while (publisher->sent < publisher->quota && publisher->sent - publisher->acknowledged < options->window &&
           publisher->out_length + MQTT_PACKET_BYTES <= OUT_BYTES) {
        uint16_t id = (uint16_t)(publisher->sent % 60000 + 1);

        publisher->out_length += mqtt_publish(publisher->out + publisher->out_length, id, publisher->topic, payload,
                                              options->payload_bytes);
        publisher->sent++;
    }
}

static void flush_out(struct publisher *publisher)
{
    size_t part = 0;

    while (publisher->out_length > 0 && SSL_write_ex(publisher->ssl, publisher->out, publisher->out_length, &part)) {
        publisher->out_length -= part;
        memmove(publisher->out, publisher->out + part, publisher->out_length);
    }
}

/* Count acknowledgements; returns the number received. */
static uint32_t take(struct publisher *publisher)
{
    uint32_t found = 0;
    size_t got = 0;
    struct mqtt_packet packet;

    while (SSL_read_ex(publisher->ssl, publisher->in + publisher->in_length, IN_BYTES - publisher->in_length, &got)) {
        publisher->in_length += got;
        while (mqtt_parse(publisher->in, publisher->in_length, &packet)) {
            if (packet.type != MQTT_PUBACK) {
                die("expected PUBACK", NULL);
            }
            found++;
            publisher->in_length -= packet.total;
            memmove(publisher->in, publisher->in + packet.total, publisher->in_length);
        }
    }
    publisher->acknowledged += found;
    return found;
}

static void turn(int epoll_fd, struct publisher *publishers, const struct options *options, const uint8_t *payload,
                 uint32_t *acknowledged)
{
    struct epoll_event events[EVENTS_A_TURN];
    int count = epoll_wait(epoll_fd, events, EVENTS_A_TURN, PATIENCE_MS);

    if (count <= 0) {
        die("timeout: no acknowledgement", NULL);
    }
    for (int i = 0; i < count; i++) {
        struct publisher *publisher = &publishers[events[i].data.u32];

        *acknowledged += take(publisher);
        fill(publisher, options, payload);
        flush_out(publisher);
    }
}

int mode_publish(const struct options *options)
{
    SSL_CTX *ctx = tls_context(options->ca, NULL);
    struct publisher *publishers = calloc(options->count, sizeof *publishers);
    uint32_t total = options->messages / options->count * options->count;
    uint32_t acknowledged = 0;
    uint8_t payload[1024] = {0};
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

    if (publishers == NULL || epoll_fd < 0) {
        die("no memory", NULL);
    }
    for (uint32_t i = 0; i < options->count; i++) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data = {.u32 = i}};

        enter(&publishers[i], options, ctx, i);
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, SSL_get_fd(publishers[i].ssl), &event) != 0) {
            die("epoll_ctl", strerror(errno));
        }
    }
    double started = now_s();
    while (acknowledged < total) {
        turn(epoll_fd, publishers, options, payload, &acknowledged);
    }
    (void)printf("{\"messages\": %u, \"seconds\": %.6f}\n", acknowledged, now_s() - started);
    return 0;
}
