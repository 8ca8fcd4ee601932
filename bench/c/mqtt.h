/* The subset of MQTT 3.1.1 (OASIS, 2014) that the benchmarks need: encoding and decoding of packets. */
#ifndef BENCH_MQTT_H
#define BENCH_MQTT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MQTT_CONNACK = 2, MQTT_PUBLISH = 3, MQTT_PUBACK = 4, MQTT_SUBACK = 9 };
enum { MQTT_PACKET_BYTES = 2048, MQTT_TOPIC_BYTES = 96 };

struct mqtt_packet {
    uint8_t type;
    const uint8_t *body;
    size_t length; /* Of the body. */
    size_t total;  /* Of the packet. */
};

/* Each writes at most MQTT_PACKET_BYTES to `out` and returns the length. `id` 0: QoS 0, else QoS 1. */
size_t mqtt_connect(uint8_t *out, const char *client_id, bool clean);
size_t mqtt_subscribe(uint8_t *out, uint16_t id, const char *topic, uint8_t qos);
size_t mqtt_publish(uint8_t *out, uint16_t id, const char *topic, const uint8_t *payload, size_t length);
size_t mqtt_disconnect(uint8_t *out);

/* False if `data` has no complete packet. */
bool mqtt_parse(const uint8_t *data, size_t length, struct mqtt_packet *packet);

#endif
