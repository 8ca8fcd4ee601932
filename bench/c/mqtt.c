#include "mqtt.h"

#include <string.h>

#include "tls.h"

/* Section 2.2.3: seven bits a byte, the least first. */
static size_t put_head(uint8_t *out, uint8_t first, size_t length)
{
    size_t at = 0;

    out[at++] = first;
    do {
        uint8_t byte = (uint8_t)(length & 0x7FU);

        length >>= 7U;
        out[at++] = length > 0 ? (uint8_t)(byte | 0x80U) : byte;
    } while (length > 0);
    return at;
}

static size_t put_number(uint8_t *out, uint16_t number)
{
    out[0] = (uint8_t)(number >> 8U);
    out[1] = (uint8_t)number;
    return 2;
}

static size_t put_text(uint8_t *out, const char *text)
{
    size_t length = strlen(text);

    memcpy(out + put_number(out, (uint16_t)length), text, length);
    return length + 2;
}

static void check(const char *topic, size_t length)
{
    if (strlen(topic) > MQTT_TOPIC_BYTES || length > MQTT_PACKET_BYTES - MQTT_TOPIC_BYTES - 16) {
        die("an MQTT packet would be too long", topic);
    }
}

size_t mqtt_connect(uint8_t *out, const char *client_id, bool clean)
{
    check(client_id, 0);
    size_t at = put_head(out, 0x10, 10 + 2 + strlen(client_id));

    at += put_text(out + at, "MQTT");
    out[at++] = 4;                /* Protocol level of 3.1.1. */
    out[at++] = clean ? 0x02 : 0; /* Clean session. */
    at += put_number(out + at, 0); /* No keep-alive: these clients send nothing while they wait. */
    return at + put_text(out + at, client_id);
}

size_t mqtt_subscribe(uint8_t *out, uint16_t id, const char *topic, uint8_t qos)
{
    check(topic, 0);
    size_t at = put_head(out, 0x82, 2 + 2 + strlen(topic) + 1);

    at += put_number(out + at, id);
    at += put_text(out + at, topic);
    out[at++] = qos;
    return at;
}

size_t mqtt_publish(uint8_t *out, uint16_t id, const char *topic, const uint8_t *payload, size_t length)
{
    check(topic, length);
    size_t at = put_head(out, id == 0 ? 0x30 : 0x32, 2 + strlen(topic) + (id == 0 ? 0U : 2U) + length);

    at += put_text(out + at, topic);
    if (id != 0) {
        at += put_number(out + at, id);
    }
    memcpy(out + at, payload, length);
    return at + length;
}

size_t mqtt_disconnect(uint8_t *out)
{
    return put_head(out, 0xE0, 0);
}

bool mqtt_parse(const uint8_t *data, size_t length, struct mqtt_packet *packet)
{
    size_t size = 0;

    for (size_t at = 1; at < length && at <= 4; at++) {
        size |= (size_t)(data[at] & 0x7FU) << (7U * (at - 1));
        if (data[at] < 0x80) {
            *packet = (struct mqtt_packet){
                .type = data[0] >> 4U, .body = data + at + 1, .length = size, .total = at + 1 + size};
            return packet->total <= length;
        }
    }
    return false;
}
