/* Resolution of "HOST:PORT" to socket addresses, cached briefly so that a fleet does not query once per device. */
#ifndef YGG_PORTS_POSIX_RESOLVE_H
#define YGG_PORTS_POSIX_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { RESOLVE_ADDRESSES_MAX = 4, RESOLVE_TEXT_BYTES = 64 };

struct resolved {
    char text[RESOLVE_TEXT_BYTES]; /* The resolved "HOST:PORT". */
    char host[RESOLVE_TEXT_BYTES];
    uint64_t until_ms;
    size_t count;
    struct {
        struct sockaddr_storage address;
        socklen_t length;
    } at[RESOLVE_ADDRESSES_MAX];
};

/* Splits "HOST:PORT" or "[HOST]:PORT". Returns false unless both are present and PORT is 1 to 65535. */
bool resolve_split(const char *text, char host[RESOLVE_TEXT_BYTES], char port[8]);

/* Fills `cache`, unless it holds a fresh answer for `text`. Blocks on the system resolver: a name, unlike a numeric
 * address, may delay all devices of the process. Returns NULL, or a human-readable error. */
const char *resolve(struct resolved *cache, const char *text, uint64_t now_ms);

#endif
