#include "ports/posix/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static bool watch(const struct control *control, int fd, uint64_t tag)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data = {.u64 = tag}};

    return epoll_ctl(control->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* Whether a process serves the socket file. */
static bool is_served(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool served = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) == 0;

    if (fd >= 0) {
        (void)close(fd);
    }
    return served;
}

static int listen_at(const struct sockaddr_un *address)
{
    struct stat status;

    if (lstat(address->sun_path, &status) == 0 && S_ISSOCK(status.st_mode)) {
        if (is_served(address)) {
            errno = EADDRINUSE;
            return -1;
        }
        (void)unlink(address->sun_path); /* If this fails, bind() reports it. */
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t before = umask(0177);
    bool bound = fd >= 0 && bind(fd, (const struct sockaddr *)address, sizeof *address) == 0;
    int failure = errno;
    (void)umask(before);
    if (bound && listen(fd, CONTROL_CLIENTS_MAX) == 0) {
        return fd;
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    errno = bound ? errno : failure;
    return -1;
}

bool control_init(struct control *control, const char *path, struct fleet *fleet, int epoll_fd,
                  char reason[IDENTITY_REASON_BYTES])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    *control = (struct control){.path = NULL, .fd = -1, .epoll_fd = epoll_fd, .fleet = fleet};
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        control->clients[i].fd = -1;
    }
    if (path == NULL) {
        return true;
    }
    if (strlen(path) >= sizeof address.sun_path) {
        (void)snprintf(reason, IDENTITY_REASON_BYTES, "--control %s: the path of a socket has at most %zu bytes", path,
                       sizeof address.sun_path - 1);
        return false;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    control->fd = listen_at(&address);
    if (control->fd < 0 || !watch(control, control->fd, CONTROL_TAG)) {
        (void)snprintf(reason, IDENTITY_REASON_BYTES, "--control %s: %s", path, strerror(errno));
        return false;
    }
    control->path = path;
    return true;
}

static void drop(struct control_client *client)
{
    (void)close(client->fd);
    free(client->out);
    *client = (struct control_client){.fd = -1};
}

void control_free(struct control *control)
{
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        if (control->clients[i].fd >= 0) {
            drop(&control->clients[i]);
        }
    }
    if (control->fd >= 0) {
        (void)close(control->fd);
    }
    if (control->path != NULL) {
        (void)unlink(control->path); /* If this fails, the next start replaces it. */
    }
}

static void accept_clients(struct control *control)
{
    for (;;) {
        int fd = accept4(control->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        size_t i = 0;

        if (fd < 0) {
            return;
        }
        while (i < CONTROL_CLIENTS_MAX && control->clients[i].fd >= 0) {
            i++;
        }
        if (i == CONTROL_CLIENTS_MAX || !watch(control, fd, CONTROL_TAG + 1 + i)) {
            (void)close(fd);
            continue;
        }
        control->clients[i] = (struct control_client){.fd = fd};
    }
}

/* Sends the pending output. Returns whether it is complete. */
static bool send_out(struct control_client *client)
{
    while (client->out_sent < client->out_length) {
        ssize_t taken = send(client->fd, client->out + client->out_sent, client->out_length - client->out_sent,
                             MSG_NOSIGNAL);

        if (taken < 0 && errno == EAGAIN) {
            return false;
        }
        if (taken <= 0) {
            drop(client);
            return false;
        }
        client->out_sent += (size_t)taken;
    }
    free(client->out);
    client->out = NULL;
    client->out_length = 0;
    client->out_sent = 0;
    return true;
}

/* Executes the client's line. Returns false if the client is gone or has not read the whole answer. */
static bool answer(struct control *control, struct control_client *client)
{
    FILE *out = open_memstream(&client->out, &client->out_length);

    if (out == NULL) {
        drop(client);
        return false;
    }
    control_command(control->fleet, client->line, out);
    if (fclose(out) != 0) {
        drop(client);
        return false;
    }
    return send_out(client);
}

/* Executes the complete lines received so far. Returns false as answer(). */
static bool run_lines(struct control *control, struct control_client *client)
{
    char *end = NULL;

    while ((end = memchr(client->line, '\n', client->line_length)) != NULL) {
        size_t used = (size_t)(end - client->line) + 1;
        char rest[CONTROL_LINE_BYTES];
        size_t rest_length = client->line_length - used;

        memcpy(rest, client->line + used, rest_length);
        *end = '\0';
        bool sent = answer(control, client);
        if (client->fd < 0) {
            return false;
        }
        memcpy(client->line, rest, rest_length);
        client->line_length = rest_length;
        if (!sent) {
            return false;
        }
    }
    return true;
}

static void serve_client(struct control *control, struct control_client *client)
{
    while (send_out(client) && run_lines(control, client)) {
        size_t room = sizeof client->line - client->line_length;

        if (room == 0) {
            drop(client); /* No command is that long. */
            return;
        }
        ssize_t got = recv(client->fd, client->line + client->line_length, room, 0);
        if (got < 0 && errno == EAGAIN) {
            return;
        }
        if (got <= 0) {
            drop(client);
            return;
        }
        client->line_length += (size_t)got;
    }
}

void control_serve(struct control *control, uint64_t tag)
{
    if (tag == CONTROL_TAG) {
        accept_clients(control);
        return;
    }
    struct control_client *client = &control->clients[tag - CONTROL_TAG - 1];
    if (client->fd >= 0) {
        serve_client(control, client);
    }
}
