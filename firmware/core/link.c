#include "core/link.h"

#include <string.h>

#include "core/internal.h"

void ygg_link_reset(struct ygg_agent *agent)
{
    uint64_t now = ygg_now(agent);

    agent->link = (struct ygg_link){
        .tx_limit = agent->config->tx_size - YGG_PREFIX_BYTES,
        .last_rx_ms = now,
        .last_tx_ms = now,
        .last_ping_ms = now,
    };
}

bool ygg_link_flushed(const struct ygg_agent *agent)
{
    return agent->link.tx_head == agent->link.tx_end;
}

size_t ygg_link_room(const struct ygg_agent *agent)
{
    return agent->config->tx_size - (agent->link.tx_end - agent->link.tx_head);
}

enum ygg_err ygg_link_flush(struct ygg_agent *agent)
{
    struct ygg_link *link = &agent->link;
    const struct ygg_hal *hal = agent->hal;

    if (ygg_link_flushed(agent)) {
        return YGG_ERR_AGAIN;
    }
    size_t waiting = link->tx_end - link->tx_head;
    int32_t taken = hal->transport->write(hal->transport_ctx, agent->config->tx + link->tx_head, waiting);
    if (taken < 0) {
        return (enum ygg_err)taken;
    }
    if (taken == 0 || (size_t)taken > waiting) {
        return YGG_ERR_IO;
    }
    link->tx_head += (size_t)taken;
    link->last_tx_ms = ygg_now(agent);
    if (ygg_link_flushed(agent)) {
        link->tx_head = 0;
        link->tx_end = 0;
    }
    return YGG_OK;
}

static void move_down(uint8_t *buffer, size_t *head, size_t *end)
{
    memmove(buffer, buffer + *head, *end - *head);
    *end -= *head;
    *head = 0;
}

enum ygg_err ygg_link_receive(struct ygg_agent *agent)
{
    struct ygg_link *link = &agent->link;
    const struct ygg_hal *hal = agent->hal;

    if (link->rx_head > 0) {
        move_down(agent->config->rx, &link->rx_head, &link->rx_end);
    }
    size_t room = agent->config->rx_size - link->rx_end;
    if (room == 0) {
        return YGG_ERR_TOO_LONG;
    }
    int32_t got = hal->transport->read(hal->transport_ctx, agent->config->rx + link->rx_end, room);
    if (got < 0) {
        return (enum ygg_err)got;
    }
    if (got == 0 || (size_t)got > room) {
        return YGG_ERR_IO;
    }
    link->rx_end += (size_t)got;
    return YGG_OK;
}

enum ygg_err ygg_link_next(struct ygg_agent *agent, struct ygg_envelope *envelope)
{
    struct ygg_link *link = &agent->link;
    const uint8_t *data = agent->config->rx + link->rx_head;
    struct ygg_frame frame = {0};
    enum ygg_err err = ygg_frame_find(data, link->rx_end - link->rx_head, agent->config->rx_size - YGG_PREFIX_BYTES,
                                      &frame);

    if (err != YGG_OK) {
        return err;
    }
    link->rx_head += frame.offset + frame.length;
    link->last_rx_ms = ygg_now(agent);
    return ygg_envelope_open(data + frame.offset, frame.length, envelope);
}

enum ygg_err ygg_link_open(struct ygg_agent *agent, uint32_t number, size_t length, pb_ostream_t *out)
{
    struct ygg_link *link = &agent->link;
    pb_ostream_t size = PB_OSTREAM_SIZING;

    if (ygg_envelope_size(number, length) > link->tx_limit) {
        return YGG_ERR_TOO_LONG;
    }
    /* A counting stream cannot fail. */
    (void)ygg_envelope_put(&size, number, length);
    size_t total = size.bytes_written + length;
    if (total > ygg_link_room(agent)) {
        return YGG_ERR_FULL;
    }
    if (total > agent->config->tx_size - link->tx_end) {
        move_down(agent->config->tx, &link->tx_head, &link->tx_end);
    }
    *out = pb_ostream_from_buffer(agent->config->tx + link->tx_end, total);
    return ygg_envelope_put(out, number, length) ? YGG_OK : YGG_ERR_ARGUMENT;
}

enum ygg_err ygg_link_commit(struct ygg_agent *agent, const pb_ostream_t *out)
{
    if (out->bytes_written != out->max_size) {
        return YGG_ERR_ARGUMENT;
    }
    agent->link.tx_end += out->bytes_written;
    return YGG_OK;
}
