/* Status codes of the whole library. */
#ifndef YGG_ERR_H
#define YGG_ERR_H

/* Negative on failure, so that functions that return a count can return an error too. */
enum ygg_err {
    YGG_OK = 0,
    YGG_ERR_AGAIN = -1,      /* Not now; nothing was lost. Call again later. */
    YGG_ERR_CLOSED = -2,     /* The peer closed the connection. */
    YGG_ERR_IO = -3,         /* The transport or the hardware failed. */
    YGG_ERR_MALFORMED = -4,  /* Invalid bytes from the peer. */
    YGG_ERR_TOO_LONG = -5,   /* More bytes than were agreed or fit. */
    YGG_ERR_UNKNOWN = -6,    /* Unknown critical frame. */
    YGG_ERR_STATE = -7,      /* Valid, but not in the current state. */
    YGG_ERR_ARGUMENT = -8,   /* The caller broke the function's contract. */
    YGG_ERR_FULL = -9,       /* No room left. */
    YGG_ERR_NOT_FOUND = -10, /* Does not exist. */
    YGG_ERR_SKIP = -11,      /* Unknown optional frame. */
    YGG_ERR_REFUSED = -12    /* Well-formed but forbidden by a signature, a trust rule or a version rule. */
};

#endif
