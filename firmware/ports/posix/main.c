/* ygg-agent: reads the options, builds the fleet and runs one epoll loop until a signal arrives. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "ports/posix/control.h"
#include "ports/posix/enrol.h"
#include "ports/posix/fleet.h"
#include "ygg/document.h"

enum { EXIT_FILE = 1, EXIT_USAGE = 2 };
enum { EVENTS_PER_WAIT = 256, WAIT_MS_MAX = 60000, STOP_MS = 2000 };

/* Open files besides the devices' sockets. */
enum { SPARE_FILES = 64 };

#define SIGNAL_TAG (UINT64_C(2) << 32U)

static int print_error(const char *reason)
{
    (void)fprintf(stderr, "ygg-agent: %s\n", reason);
    return EXIT_FILE;
}

static int print_capabilities(void)
{
    static uint8_t document[YGG_DOCUMENT_BYTES_MAX];
    uint32_t size = ygg_document_size(&ygg_sim_document);

    if (ygg_document_check(&ygg_sim_document) != YGG_OK ||
        ygg_document_read(&ygg_sim_document, 0, document, size) != YGG_OK ||
        fwrite(document, 1, size, stdout) != size) {
        return print_error("cannot write the capability document");
    }
    return EXIT_SUCCESS;
}

/* The soft limit is often 1024; the hard one holds thousands of devices. */
static bool allow_files(uint32_t count, char reason[IDENTITY_REASON_BYTES])
{
    struct rlimit limit = {0};
    rlim_t needed = (rlim_t)count + SPARE_FILES;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= needed) {
        return true;
    }
    limit.rlim_cur = needed < limit.rlim_max ? needed : limit.rlim_max;
    if (limit.rlim_cur < needed || setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        (void)snprintf(reason, IDENTITY_REASON_BYTES,
                       "%u devices need %llu open files, the limit is %llu. Raise it (ulimit -n) or lower --count",
                       count, (unsigned long long)needed, (unsigned long long)limit.rlim_max);
        return false;
    }
    return true;
}

static int watch_signals(int epoll_fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.u64 = SIGNAL_TAG}};
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || sigprocmask(SIG_BLOCK, &set, NULL) != 0) {
        return -1;
    }
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd >= 0 && epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? fd : -1;
}

/* Handles one batch of events. Returns false once a signal arrived. */
static bool serve(struct fleet *fleet, struct control *control, int signal_fd, int wait_ms)
{
    struct epoll_event events[EVENTS_PER_WAIT];
    int count = epoll_wait(fleet->epoll_fd, events, EVENTS_PER_WAIT, wait_ms);
    bool running = true;

    for (int i = 0; i < count; i++) {
        uint64_t tag = events[i].data.u64;

        if (tag == SIGNAL_TAG) {
            struct signalfd_siginfo info;

            running = read(signal_fd, &info, sizeof info) != (ssize_t)sizeof info;
        } else if (tag >= CONTROL_TAG) {
            control_serve(control, tag);
        } else {
            fleet_step(fleet, (uint32_t)tag);
        }
    }
    return running;
}

/* Runs until the first signal or a restart; then until all devices have sent Goodbye, a second signal, or STOP_MS. */
static void run(struct fleet *fleet, struct control *control, int signal_fd)
{
    bool running = true;

    while (running && !fleet->restart) {
        int wait_ms = fleet_step_due(fleet, WAIT_MS_MAX);

        /* A due step may have requested the restart, and then nothing would wake this up. */
        running = serve(fleet, control, signal_fd, fleet->restart ? 0 : wait_ms);
    }
    bool signalled = !running; /* A signal wins over a restart. */
    uint64_t until = posix_now_ms() + STOP_MS;
    fleet_stop(fleet);
    while (!fleet_stopped(fleet) && posix_now_ms() < until &&
           (running = serve(fleet, control, signal_fd, fleet_step_due(fleet, 100)))) {
    }
    fleet->restart = fleet->restart && !signalled && running;
}

static int run_fleet(const struct options *options, int epoll_fd, bool *restart)
{
    char reason[IDENTITY_REASON_BYTES] = "";
    struct fleet fleet = {0};
    struct control control = {.fd = -1};
    int outcome = EXIT_SUCCESS;

    int signal_fd = watch_signals(epoll_fd);
    if (signal_fd < 0) {
        return print_error(strerror(errno));
    }
    if (!allow_files(options->count * (options->slots == NULL ? 1U : 2U), reason) ||
        !fleet_init(&fleet, options, epoll_fd, reason)) {
        outcome = print_error(reason);
    } else if (!control_init(&control, options->control, &fleet, epoll_fd, reason)) {
        outcome = print_error(reason);
    } else {
        run(&fleet, &control, signal_fd);
        control_free(&control);
    }
    *restart = fleet.restart;
    fleet_free(&fleet);
    (void)close(signal_fd);
    return outcome;
}

int main(int argc, char **argv)
{
    struct options options;

    switch (options_read(&options, argc, argv)) {
    case OPTIONS_DONE:
        return EXIT_SUCCESS;
    case OPTIONS_INVALID:
        return EXIT_USAGE;
    case OPTIONS_PRINT_CAPABILITIES:
        return print_capabilities();
    case OPTIONS_RUN:
        break;
    }
    char reason[IDENTITY_REASON_BYTES] = "";
    if (options.slots != NULL && options.count == 0 && !slots_start(&options, argv, reason)) {
        return print_error(reason);
    }
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || !enrol(&options, reason)) {
        return print_error(reason);
    }
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) {
        return print_error(strerror(errno));
    }
    bool restart = false;
    int outcome = run_fleet(&options, epoll_fd, &restart);
    (void)close(epoll_fd);
    if (restart) {
        slots_restart(argv);
        outcome = EXIT_FILE;
    }
    return outcome;
}
