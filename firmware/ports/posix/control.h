/* A Unix socket to inspect and change the simulated boards directly, bypassing the link and every cache.
 *
 * Line based; only the owner of the process may connect (mode 0600):
 *
 *     get ID CAPABILITY.PROPERTY          on | off | a number
 *     set ID CAPABILITY.PROPERTY VALUE    ok
 *     hang ID on|off                      ok: the board accepts calls but never answers them
 *     swap ID extra|normal                ok: light0 is plugged in or out
 *     rollback ID                         ok: the previous image is booted on trial
 *     list                                ID STATE and counters, a line for each device, then "."
 *     spread                              MS attempts=N contracts=N, each 100 ms of the last storm, then "."
 *     stats [ID]                          ID CAPABILITY.MEMBER COUNT, number of executions, then "."
 *
 * Errors are answered with one line that begins with "error: ". */
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
    char *out; /* Output not sent yet; NULL: none. */
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

/* Listens at `path` and replaces a stale socket file. Returns false and a `reason` on failure. */
bool control_init(struct control *control, const char *path, struct fleet *fleet, int epoll_fd,
                  char reason[IDENTITY_REASON_BYTES]);
void control_free(struct control *control);

/* Handles an epoll event for `tag`. */
void control_serve(struct control *control, uint64_t tag);

/* Executes one command and writes the answer. control_commands.c. */
void control_command(struct fleet *fleet, char *line, FILE *out);

#endif
