/* Bytes between the transport and the frames: the two buffers, their filling and emptying.
 *
 * Does not know what frames mean. A frame is opened with its exact size, written, and committed. */
#ifndef YGG_CORE_LINK_H
#define YGG_CORE_LINK_H

#include "wire/frame.h"
#include "ygg/agent.h"

/* Forgets all bytes; called for each new connection. */
void ygg_link_reset(struct ygg_agent *agent);

/* Hands waiting bytes to the transport. YGG_OK: some were taken; YGG_ERR_AGAIN: none; else the link is lost. */
enum ygg_err ygg_link_flush(struct ygg_agent *agent);

/* Whether nothing waits to be sent, and how many bytes could be queued. */
bool ygg_link_flushed(const struct ygg_agent *agent);
size_t ygg_link_room(const struct ygg_agent *agent);

/* Takes bytes from the transport. YGG_OK: some came; YGG_ERR_AGAIN: none; else the link is lost. */
enum ygg_err ygg_link_receive(struct ygg_agent *agent);

/* The next whole frame, opened; valid until ygg_link_receive. YGG_ERR_AGAIN: none yet. Else the peer broke the
 * protocol (codes of ygg_frame_find and ygg_envelope_open). */
enum ygg_err ygg_link_next(struct ygg_agent *agent, struct ygg_envelope *envelope);

/* Begins a frame whose body has `length` bytes. YGG_ERR_TOO_LONG: the session allows no such frame; YGG_ERR_FULL:
 * not now. Then write the body to `out` and commit. */
enum ygg_err ygg_link_open(struct ygg_agent *agent, uint32_t number, size_t length, pb_ostream_t *out);

/* Queues the frame, which must be complete: YGG_ERR_ARGUMENT, and nothing queued, where it is not. */
enum ygg_err ygg_link_commit(struct ygg_agent *agent, const pb_ostream_t *out);

#endif
