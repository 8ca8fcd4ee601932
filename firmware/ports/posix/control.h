/* A Unix socket to look at the simulated boards themselves and to change them, past the link and every cache.
 *
 * Lines in, lines out; only the owner of the process may connect (mode 0600):
 *
 *     get ID CAPABILITY.PROPERTY          on | off | a number
 *     set ID CAPABILITY.PROPERTY VALUE    ok
 *     hang ID on|off                      ok: the board takes calls and never answers them
 *     swap ID extra|normal                ok: the board has light0 from now on, or has it no more
 *     rollback ID                         ok: the image before is booted on trial
 *     list                                ID STATE and counters, a line for each device, then "."
 *     spread                              MS attempts=N contracts=N, each 100 ms of the last storm, then "."
 *     stats [ID]                          ID CAPABILITY.MEMBER COUNT, how often it really ran, then "."
 *
 * What goes wrong is answered with one line that begins with "error: ". */
#ifndef YGG_PORTS_POSIX_CONTROL_H
#define YGG_PORTS_POSIX_CONTROL_H

#include <stdio.h>

#include "ports/posix/fleet.h"

enum { CONTROL_CLIENTS_MAX = 16, CONTROL_LINE_BYTES = 256 };

/* The epoll tags of the socket and of its clients: CONTROL_TAG + 0, and + 1 for the first client. */
#define CONTROL_TAG (UINT64_C(1) << 32U)

struct control_client {
    int fd; /* -1: free. */
    size_t line_length;
    char line[CONTROL_LINE_BYTES];
    char *out; /* What the socket has not taken yet; NULL: nothing. */
    size_t out_length;
    size_t out_sent;
};

struct control {
    const char *path; /* NULL: no control socket. */
    int fd;
    int epoll_fd;
    struct fleet *fleet;
    struct control_client clients[CONTROL_CLIENTS_MAX];
};

/* Listens at `path`; a socket file that nobody listens at is replaced. False and a `reason` where that fails. */
bool control_init(struct control *control, const char *path, struct fleet *fleet, int epoll_fd,
                  char reason[IDENTITY_REASON_BYTES]);
void control_free(struct control *control);

/* Serves what epoll reported for `tag`. */
void control_serve(struct control *control, uint64_t tag);

/* Does one command and writes the answer. control_commands.c. */
void control_command(struct fleet *fleet, char *line, FILE *out);

#endif
