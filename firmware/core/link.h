/* The buffers between transport and frames.
 *
 * Does not know the meaning of frames. A frame is opened with its exact size, written, and committed. */
#ifndef YGG_CORE_LINK_H
#define YGG_CORE_LINK_H

#include "wire/frame.h"
#include "ygg/agent.h"

/* Discards all bytes; called for each new connection. */
void ygg_link_reset(struct ygg_agent *agent);

/* Writes queued bytes to the transport. YGG_OK: some were accepted; YGG_ERR_AGAIN: none; else the link is lost. */
enum ygg_err ygg_link_flush(struct ygg_agent *agent);

/* Whether all queued bytes were sent, and how many bytes can be queued. */
bool ygg_link_flushed(const struct ygg_agent *agent);
size_t ygg_link_room(const struct ygg_agent *agent);

/* Reads bytes from the transport. YGG_OK: some arrived; YGG_ERR_AGAIN: none; else the link is lost. */
enum ygg_err ygg_link_receive(struct ygg_agent *agent);

/* Returns the next complete frame in `envelope`, valid until ygg_link_receive. YGG_ERR_AGAIN: none yet. Else the peer
 * broke the protocol (codes of ygg_frame_find and ygg_envelope_open). */
enum ygg_err ygg_link_next(struct ygg_agent *agent, struct ygg_envelope *envelope);

/* Begins a frame with a body of `length` bytes, to be written to `out` and committed. YGG_ERR_TOO_LONG: larger than the
 * session allows. YGG_ERR_FULL: no room now. */
enum ygg_err ygg_link_open(struct ygg_agent *agent, uint32_t number, size_t length, pb_ostream_t *out);

/* Queues the frame. YGG_ERR_ARGUMENT: it is incomplete, nothing was queued. */
enum ygg_err ygg_link_commit(struct ygg_agent *agent, const pb_ostream_t *out);

#endif
