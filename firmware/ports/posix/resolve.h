/* "HOST:PORT" to socket addresses, remembered for a while so that a fleet does not ask once a device. */
#ifndef YGG_PORTS_POSIX_RESOLVE_H
#define YGG_PORTS_POSIX_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { RESOLVE_ADDRESSES_MAX = 4, RESOLVE_TEXT_BYTES = 64 };

struct resolved {
    char text[RESOLVE_TEXT_BYTES]; /* "HOST:PORT" as it was asked for. */
    char host[RESOLVE_TEXT_BYTES];
    uint64_t until_ms;
    size_t count;
    struct {
        struct sockaddr_storage address;
        socklen_t length;
    } at[RESOLVE_ADDRESSES_MAX];
};

/* Splits "HOST:PORT" or "[HOST]:PORT". False unless both are there and PORT is 1 to 65535. */
bool resolve_split(const char *text, char host[RESOLVE_TEXT_BYTES], char port[8]);

/* Fills `cache` unless it answers for `text` already. Asks the system resolver, which may take its time: a name, not
 * a numeric address, can hold up all devices of the process for that long. NULL, or why it failed, for people. */
const char *resolve(struct resolved *cache, const char *text, uint64_t now_ms);

#endif
