/* Modes with one blocking connection: the echo device of the bare relay, and both ends of a call through MQTT. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "modes.h"
#include "mqtt.h"

enum { BUFFER_BYTES = 4096 };

int mode_echo(const struct options *options)
{
    struct identity identity = tls_identity(options->identities, options->id);
    SSL *ssl = tls_dial(tls_context(options->ca, "bench-relay"), options->port, &identity);
    uint8_t buffer[BUFFER_BYTES];
    size_t got = 0;

    while (SSL_read_ex(ssl, buffer, sizeof buffer, &got) == 1) {
        tls_write_all(ssl, buffer, got);
    }
    return 0; /* The relay has exited. */
}

/* Read one packet of at most BUFFER_BYTES. */
static struct mqtt_packet read_packet(SSL *ssl, uint8_t *buffer)
{
    struct mqtt_packet packet = {0};
    size_t have = 2;

    tls_read_all(ssl, buffer, have);
    while (!mqtt_parse(buffer, have, &packet)) {
        size_t want = packet.total > have ? packet.total : have + 1;

        if (want > BUFFER_BYTES) {
            die("packet too long", NULL);
        }
        tls_read_all(ssl, buffer + have, want - have);
        have = want;
    }
    return packet;
}

static void expect(SSL *ssl, uint8_t type)
{
    uint8_t buffer[BUFFER_BYTES];
    struct mqtt_packet packet = read_packet(ssl, buffer);

    if (packet.type != type || (type == MQTT_CONNACK && packet.body[1] != 0)) {
        die("unexpected response of the broker", NULL);
    }
}

static SSL *connect_and_subscribe(const struct options *options, bool clean, const char *topic, uint8_t qos)
{
    struct identity identity = tls_identity(options->identities, options->id);
    SSL *ssl = tls_dial(tls_context(options->ca, NULL), options->port, &identity);
    uint8_t out[MQTT_PACKET_BYTES];

    tls_write_all(ssl, out, mqtt_connect(out, options->id, clean));
    expect(ssl, MQTT_CONNACK);
    tls_write_all(ssl, out, mqtt_subscribe(out, 1, topic, qos));
    expect(ssl, MQTT_SUBACK);
    return ssl;
}

/* Subscribe with a persistent session and disconnect: the broker must queue later messages for it. */
int mode_queue(const struct options *options)
{
    SSL *ssl = connect_and_subscribe(options, false, "events/#", 1);
    uint8_t out[MQTT_PACKET_BYTES];

    tls_write_all(ssl, out, mqtt_disconnect(out));
    (void)SSL_shutdown(ssl);
    (void)puts("{\"subscribed\": true}");
    return 0;
}

static size_t topic_length(const struct mqtt_packet *packet)
{
    size_t length = (size_t)packet->body[0] << 8U | packet->body[1];

    if (packet->type != MQTT_PUBLISH || length + 2 > packet->length) {
        die("expected PUBLISH", NULL);
    }
    return length;
}

int mode_responder(const struct options *options)
{
    char topic[MQTT_TOPIC_BYTES];
    uint8_t in[BUFFER_BYTES];
    uint8_t out[MQTT_PACKET_BYTES];

    (void)snprintf(topic, sizeof topic, "call/%s", options->id);
    SSL *ssl = connect_and_subscribe(options, true, topic, 0);
    (void)snprintf(topic, sizeof topic, "answer/%s", options->id);
    (void)puts("{\"ready\": true}");
    (void)fflush(stdout);
    for (;;) {
        struct mqtt_packet packet = read_packet(ssl, in);
        size_t skip = topic_length(&packet) + 2;

        tls_write_all(ssl, out, mqtt_publish(out, 0, topic, packet.body + skip, packet.length - skip));
    }
}

static int ascending(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;

    return (left > right) - (left < right);
}

int mode_caller(const struct options *options)
{
    char topic[MQTT_TOPIC_BYTES];
    uint8_t payload[1024] = {0};
    uint8_t in[BUFFER_BYTES];
    uint8_t out[MQTT_PACKET_BYTES];
    double *took = calloc(options->messages, sizeof *took);

    if (took == NULL || options->to == NULL || options->messages == 0) {
        die("caller", "needs --to and --messages");
    }
    (void)snprintf(topic, sizeof topic, "answer/%s", options->to);
    SSL *ssl = connect_and_subscribe(options, true, topic, 0);
    (void)snprintf(topic, sizeof topic, "call/%s", options->to);
    for (uint32_t i = 0; i < options->messages; i++) {
        memcpy(payload, &i, sizeof i);
        double start = now_s();
        tls_write_all(ssl, out, mqtt_publish(out, 0, topic, payload, options->payload_bytes));
        struct mqtt_packet packet = read_packet(ssl, in);
        size_t skip = topic_length(&packet) + 2;

        took[i] = now_s() - start;
        if (packet.length - skip != options->payload_bytes || memcmp(packet.body + skip, payload, sizeof i) != 0) {
            die("response to another call", NULL);
        }
    }
    qsort(took, options->messages, sizeof *took, ascending);
    (void)printf("{\"p50_ms\": %.6f, \"p99_ms\": %.6f}\n", took[options->messages / 2] * 1e3,
                 took[(size_t)((double)options->messages * 0.99)] * 1e3);
    free(took);
    return 0;
}
