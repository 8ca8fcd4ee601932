/* bench-peer MODE: clients and devices of the peers of Yggdrasil. Run by `python -m bench.link` and `bench.ota`. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "modes.h"

void id_of(char out[ID_BYTES], const struct options *options, uint32_t index)
{
    (void)snprintf(out, ID_BYTES, "%s-%u", options->id, index + 1);
}

static uint32_t number(const char *text, unsigned long most)
{
    char *end = NULL;

    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno != 0 || *end != '\0' || end == text || value > most) {
        die("not a number in range", text);
    }
    return (uint32_t)value;
}

static void allow_files(void)
{
    struct rlimit limit = {0};

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* If it stays too low, socket() fails. */
    }
}

static struct options read_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"ca", required_argument, NULL, 'c'},       {"identities", required_argument, NULL, 'd'},
        {"id", required_argument, NULL, 'i'},       {"hellos", required_argument, NULL, 'e'},
        {"to", required_argument, NULL, 't'},       {"port", required_argument, NULL, 'p'},
        {"count", required_argument, NULL, 'n'},    {"window", required_argument, NULL, 'w'},
        {"messages", required_argument, NULL, 'm'}, {"payload", required_argument, NULL, 'b'},
        {"tls-only", no_argument, NULL, 'o'},       {"resume", no_argument, NULL, 'r'},
        {"hold", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0},
    };
    struct options options = {.count = 1, .window = 64, .messages = 1, .payload_bytes = 32};
    int found = 0;

    while ((found = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (found) {
        case 'c': options.ca = optarg; break;
        case 'd': options.identities = optarg; break;
        case 'i': options.id = optarg; break;
        case 'e': options.hellos = optarg; break;
        case 't': options.to = optarg; break;
        case 'p': options.port = (uint16_t)number(optarg, UINT16_MAX); break;
        case 'n': options.count = number(optarg, 100000); break;
        case 'w': options.window = number(optarg, 60000); break;
        case 'm': options.messages = number(optarg, 100000000); break;
        case 'b': options.payload_bytes = number(optarg, 1024); break;
        case 'o': options.tls_only = true; break;
        case 'r': options.resume = true; break;
        case 'h': options.hold = true; break;
        default: die("options", "see bench/c/main.c");
        }
    }
    if (optind != argc - 1 || options.ca == NULL || options.identities == NULL || options.id == NULL ||
        options.count == 0 || options.window == 0) {
        die("usage", "bench-peer --ca FILE --identities DIR --id ID --port PORT [...] MODE");
    }
    options.mode = argv[optind];
    return options;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(const struct options *options);
    } modes[] = {
        {"connect", mode_connect},     {"publish", mode_publish}, {"echo", mode_echo},
        {"responder", mode_responder}, {"caller", mode_caller},   {"queue", mode_queue},
        {"download", mode_download},
    };
    struct options options = read_options(argc, argv);

    (void)signal(SIGPIPE, SIG_IGN);
    allow_files();
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if (strcmp(modes[i].name, options.mode) == 0) {
            return modes[i].run(&options);
        }
    }
    die("unknown mode", options.mode);
}
