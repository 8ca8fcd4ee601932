#include "ports/posix/options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ports/posix/resolve.h"
#include "ports/posix/slots.h"
#include "ports/posix/token.h"

enum { BACKOFF_MIN_MS = 250, BACKOFF_MAX_MS = 8000, BACKOFF_LIMIT_MS = 3600000, TELEMETRY_LIMIT_MS = 3600000 };
enum { PATH_BYTES = 4096, NAME_BYTES = 64 };

/* The version is built into an image; an option would outlive an update. */
#ifndef YGG_FIRMWARE_VERSION
#define YGG_FIRMWARE_VERSION "1.0.0"
#endif
static const char prefix[] = "YGG_AGENT_";
static const char default_version[] = YGG_FIRMWARE_VERSION;

static const char help[] =
    "ygg-agent: a Yggdrasil device with a simulated board, or thousands of them.\n"
    "\n"
    "One device:\n"
    "  ygg-agent --id porch-1 --connect 127.0.0.1:7443 --ca ca.pem --cert cert.pem --key key.pem\n"
    "A device without a certificate, with the token printed by `ygg device token`; DIR keeps its identity:\n"
    "  ygg-agent --enrol TOKEN --identity DIR --connect 127.0.0.1:7443\n"
    "Many, load-1 to load-500, each with DIR/<id>/cert.pem and DIR/<id>/key.pem:\n"
    "  ygg-agent --id load --count 500 --identities DIR --connect 127.0.0.1:7443 --ca ca.pem\n"
    "\n"
    "Identity and address:\n"
    "  --id ID             device id, [a-z0-9][a-z0-9-]{0,62}; the certificate must be for it\n"
    "  --connect ADDRESS   HOST:PORT of the bridge's link; [HOST]:PORT for IPv6\n"
    "  --ca FILE           PEM file with the CA that the bridge's certificate leads to\n"
    "  --cert FILE         PEM file with the device's certificate and the CAs below the root\n"
    "  --key FILE          PEM file with its private key, closed to others (chmod 600)\n"
    "  --identity DIR      directory of cert.pem, key.pem and services.pem, instead of --cert, --key and --ca\n"
    "  --enrol TOKEN       obtain the certificate if DIR has none. The token contains the device id, --id is optional\n"
    "  --count N           host N devices, ID-1 to ID-N\n"
    "  --identities DIR    directory of their certificates; with --count instead of --cert and --key\n"
    "Behaviour:\n"
    "  --control PATH      Unix socket to inspect and change the board directly: list, stats,\n"
    "                      get ID led0.on, set ID temp0.celsius 80, hang ID on; and spread: reconnects\n"
    "                      per 100 ms of the last storm\n"
    "  --telemetry-ms N    each board samples one observable property every N ms, round robin (0: off)\n"
    "  --firmware-version V  reported version, at most 31 bytes (1.0.0)\n"
    "  --device-class CLASS  class of images that it accepts, at most 31 bytes (sim)\n"
    "  --ramp RATE         with --count, first connections per second (0: unlimited)\n"
    "  --backoff-min-ms N  upper bound of the first delay before a reconnect (250)\n"
    "  --backoff-max-ms N  upper bound of any delay (8000)\n"
    "  --no-resume         make a full TLS handshake each time, without session tickets\n"
    "  --seed N            make delays repeatable; boot ids stay random\n"
    "  --log-level LEVEL   info: each change of state; warning: only failures (info)\n"
    "Updates:\n"
    "  --slots FILE        flash with two slots, created with this executable in slot A if missing. The slot's\n"
    "                      copy then runs; with --count a directory, and restarts happen within the process\n"
    "  --ota-root FILE     signed factory root: the root of trust for updates\n"
    "  --slot-bytes N      size of a slot, a multiple of 4096 (4194304)\n"
    "  --security-counter N  security counter of the factory image (1)\n"
    "  --trial-ms N        time within which a new image must be confirmed (120000)\n"
    "  --factory-image FILE  with --count: initial image of slot A instead of this executable\n"
    "  --safe-mode         run in safe mode, which only accepts updates, regardless of the slots\n"
    "Other:\n"
    "  --print-capabilities  write the board's CapabilityDocument to stdout and exit\n"
    "  --version, --help\n"
    "\n"
    "Each option that takes a value can be set in the environment, such as YGG_AGENT_ID for --id, and the token as\n"
    "YGG_AGENT_TOKEN, which ps does not show. The command line takes precedence.\n"
    "Stop it with SIGTERM: it sends Goodbye and exits 0. Exit codes: 1 a file is unusable or the\n"
    "enrolment was rejected, 2 invalid options.\n";

enum flag {
    FLAG_ID = 256,
    FLAG_CONNECT,
    FLAG_CA,
    FLAG_CERT,
    FLAG_KEY,
    FLAG_IDENTITIES,
    FLAG_IDENTITY,
    FLAG_ENROL,
    FLAG_CONTROL,
    FLAG_FIRMWARE_VERSION,
    FLAG_DEVICE_CLASS,
    FLAG_COUNT,
    FLAG_RAMP,
    FLAG_TELEMETRY,
    FLAG_BACKOFF_MIN,
    FLAG_BACKOFF_MAX,
    FLAG_NO_RESUME,
    FLAG_SEED,
    FLAG_LOG_LEVEL,
    FLAG_SLOTS,
    FLAG_OTA_ROOT,
    FLAG_SLOT_BYTES,
    FLAG_SECURITY_COUNTER,
    FLAG_TRIAL,
    FLAG_FACTORY_IMAGE,
    FLAG_SAFE_MODE,
    FLAG_PRINT_CAPABILITIES,
    FLAG_VERSION,
    FLAG_HELP
};

static const struct option flags[] = {
    {"id", required_argument, NULL, FLAG_ID},
    {"connect", required_argument, NULL, FLAG_CONNECT},
    {"ca", required_argument, NULL, FLAG_CA},
    {"cert", required_argument, NULL, FLAG_CERT},
    {"key", required_argument, NULL, FLAG_KEY},
    {"identities", required_argument, NULL, FLAG_IDENTITIES},
    {"identity", required_argument, NULL, FLAG_IDENTITY},
    {"enrol", required_argument, NULL, FLAG_ENROL},
    {"control", required_argument, NULL, FLAG_CONTROL},
    {"firmware-version", required_argument, NULL, FLAG_FIRMWARE_VERSION},
    {"device-class", required_argument, NULL, FLAG_DEVICE_CLASS},
    {"count", required_argument, NULL, FLAG_COUNT},
    {"ramp", required_argument, NULL, FLAG_RAMP},
    {"telemetry-ms", required_argument, NULL, FLAG_TELEMETRY},
    {"backoff-min-ms", required_argument, NULL, FLAG_BACKOFF_MIN},
    {"backoff-max-ms", required_argument, NULL, FLAG_BACKOFF_MAX},
    {"no-resume", no_argument, NULL, FLAG_NO_RESUME},
    {"seed", required_argument, NULL, FLAG_SEED},
    {"log-level", required_argument, NULL, FLAG_LOG_LEVEL},
    {"slots", required_argument, NULL, FLAG_SLOTS},
    {"ota-root", required_argument, NULL, FLAG_OTA_ROOT},
    {"slot-bytes", required_argument, NULL, FLAG_SLOT_BYTES},
    {"security-counter", required_argument, NULL, FLAG_SECURITY_COUNTER},
    {"trial-ms", required_argument, NULL, FLAG_TRIAL},
    {"factory-image", required_argument, NULL, FLAG_FACTORY_IMAGE},
    {"safe-mode", no_argument, NULL, FLAG_SAFE_MODE},
    {"print-capabilities", no_argument, NULL, FLAG_PRINT_CAPABILITIES},
    {"version", no_argument, NULL, FLAG_VERSION},
    {"help", no_argument, NULL, FLAG_HELP},
    {NULL, 0, NULL, 0},
};

static bool usage_error(const char *what, const char *value, const char *rule)
{
    (void)fprintf(stderr, "ygg-agent: %s%s%s: %s\n", what, value == NULL ? "" : " ", value == NULL ? "" : value, rule);
    return false;
}

static bool read_number(const char *name, const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    char rule[64];
    char *end = NULL;

    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno == 0 && text[0] >= '0' && text[0] <= '9' && *end == '\0' && number >= min && number <= max) {
        *out = number;
        return true;
    }
    (void)snprintf(rule, sizeof rule, "must be %llu to %llu", (unsigned long long)min, (unsigned long long)max);
    return usage_error(name, text, rule);
}

static bool read_u32(const char *name, const char *text, uint32_t min, uint32_t max, uint32_t *out)
{
    uint64_t number = 0;
    bool valid = read_number(name, text, min, max, &number);

    *out = valid ? (uint32_t)number : *out;
    return valid;
}

static bool read_level(const char *text, enum ygg_log_level *level)
{
    if (strcmp(text, "info") == 0) {
        *level = YGG_LOG_INFO;
    } else if (strcmp(text, "warning") == 0) {
        *level = YGG_LOG_WARNING;
    } else {
        return usage_error("--log-level", text, "must be info or warning");
    }
    return true;
}

/* Strips from a token what a file may have around it: a byte order mark, blanks, CRLF. */
static const char *trimmed(const char *value)
{
    static char text[TOKEN_TEXT_BYTES];
    static const char blanks[] = " \t\r\n";
    size_t mark = strncmp(value, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    const char *from = value + mark + strspn(value + mark, blanks);
    size_t length = strlen(from);

    while (length > 0 && strchr(blanks, from[length - 1]) != NULL) {
        length--;
    }
    if (length >= sizeof text) {
        return value; /* Rejected later because of its length. */
    }
    memcpy(text, from, length);
    text[length] = '\0';
    return text;
}

static bool read_value(struct options *options, int flag, const char *value)
{
    switch (flag) {
    case FLAG_ID:
        options->id = value;
        return true;
    case FLAG_CONNECT:
        options->connect = value;
        return true;
    case FLAG_CA:
        options->ca = value;
        return true;
    case FLAG_CERT:
        options->cert = value;
        return true;
    case FLAG_KEY:
        options->key = value;
        return true;
    case FLAG_IDENTITIES:
        options->identities = value;
        return true;
    case FLAG_IDENTITY:
        options->identity = value;
        return true;
    case FLAG_ENROL:
        options->token = trimmed(value);
        return true;
    case FLAG_CONTROL:
        options->control = value;
        return true;
    case FLAG_FIRMWARE_VERSION:
        options->firmware_version = value;
        return true;
    case FLAG_DEVICE_CLASS:
        options->device_class = value;
        return true;
    case FLAG_COUNT:
        return read_u32("--count", value, 1, OPTIONS_DEVICES_MAX, &options->count);
    case FLAG_RAMP:
        return read_u32("--ramp", value, 0, OPTIONS_DEVICES_MAX, &options->ramp);
    case FLAG_TELEMETRY:
        return read_u32("--telemetry-ms", value, 0, TELEMETRY_LIMIT_MS, &options->telemetry_ms);
    case FLAG_BACKOFF_MIN:
        return read_u32("--backoff-min-ms", value, 1, BACKOFF_LIMIT_MS, &options->backoff_min_ms);
    case FLAG_BACKOFF_MAX:
        return read_u32("--backoff-max-ms", value, 1, BACKOFF_LIMIT_MS, &options->backoff_max_ms);
    case FLAG_NO_RESUME:
        options->no_resume = true;
        return true;
    case FLAG_SEED:
        options->seeded = true;
        return read_number("--seed", value, 0, UINT64_MAX, &options->seed);
    case FLAG_LOG_LEVEL:
        return read_level(value, &options->log_level);
    case FLAG_SLOTS:
        options->slots = value;
        return true;
    case FLAG_OTA_ROOT:
        options->ota_root = value;
        return true;
    case FLAG_SLOT_BYTES:
        return read_u32("--slot-bytes", value, FLASH_FILE_BLOCK_BYTES, SLOTS_BYTES_MAX, &options->slot_bytes);
    case FLAG_SECURITY_COUNTER:
        return read_u32("--security-counter", value, 0, UINT32_MAX, &options->security_counter);
    case FLAG_TRIAL:
        return read_u32("--trial-ms", value, 1000, BACKOFF_LIMIT_MS, &options->trial_ms);
    case FLAG_FACTORY_IMAGE:
        options->factory_image = value;
        return true;
    case FLAG_SAFE_MODE:
        options->safe_mode = true;
        return true;
    default:
        return false; /* getopt has printed the error. */
    }
}

static bool is_version(const char *version)
{
    for (size_t i = 0; version[i] != '\0'; i++) {
        if (i == 31 || version[i] <= ' ' || version[i] > '~') {
            return false;
        }
    }
    return version[0] != '\0';
}

static bool require(const char *value, const char *what, const char *why)
{
    return value != NULL || usage_error("missing", what, why);
}

static bool check_fleet(const struct options *options)
{
    bool valid = require(options->identities, "--identities DIR", "with --count, the directory of <id>/cert.pem");

    valid &= (options->cert == NULL && options->key == NULL) ||
             usage_error("--cert and --key", NULL, "not with --count, each device has its own: --identities DIR");
    return (options->identity == NULL || usage_error("--identity", NULL, "not with --count: --identities DIR")) &&
           valid;
}

static bool check_directory(const struct options *options)
{
    bool valid = (options->cert == NULL && options->key == NULL && options->ca == NULL) ||
                 usage_error("--cert, --key and --ca", NULL, "not with --identity, which has them all");

    return (strlen(options->identity) + NAME_BYTES < PATH_BYTES ||
            usage_error("--identity", NULL, "the path is too long")) &&
           valid;
}

static bool check_identity(const struct options *options)
{
    bool valid = options->token == NULL || options->identity != NULL ||
                 usage_error("--enrol", NULL, "only with --identity DIR, which keeps the certificate");

    if (options->count > 0) {
        return check_fleet(options) && valid;
    }
    valid &= options->identities == NULL || usage_error("--identities", NULL, "only with --count");
    if (options->identity != NULL) {
        return check_directory(options) && valid;
    }
    valid &= require(options->cert, "--cert FILE", "the device's certificate: ygg pki issue device ID");
    valid &= require(options->key, "--key FILE", "its private key, beside the certificate");
    return valid;
}

/* Takes the device id from the token. Errors never contain the token's text, which is a secret. */
static bool check_token(struct options *options, struct token *token)
{
    const char *fault = options->token == NULL ? NULL : token_parse(token, options->token);

    if (fault != NULL) {
        return usage_error("--enrol", NULL, fault);
    }
    if (options->token != NULL && options->id == NULL) {
        options->id = token->device_id;
    }
    return options->token == NULL || strcmp(options->id, token->device_id) == 0 ||
           usage_error("--id", options->id, "the token is for another device");
}

static bool check_slots(const struct options *options)
{
    bool valid = options->slots == NULL ||
                 require(options->ota_root, "--ota-root FILE", "required with --slots: the root of trust for updates");

    valid &= options->slots != NULL || (options->ota_root == NULL && !options->safe_mode) ||
             usage_error("--ota-root and --safe-mode", NULL, "only with --slots");
    valid &= options->factory_image == NULL || options->count != 0 ||
             usage_error("--factory-image", NULL, "only with --count");
    valid &= options->slot_bytes % FLASH_FILE_BLOCK_BYTES == 0 ||
             usage_error("--slot-bytes", NULL, "must be a multiple of 4096");
    valid &= options->slots == NULL || options->count != 0 || options->firmware_version == default_version ||
             usage_error("--firmware-version", NULL,
                         "not with --slots: it is built into the image (make image VERSION=...)");
    return valid;
}

/* Reports all faults, not just the first. */
static bool check(const struct options *options)
{
    char host[RESOLVE_TEXT_BYTES];
    char port[8];
    bool valid = true;

    valid &= require(options->id, "--id ID", "the device's id, such as porch-1");
    valid &= options->id == NULL || token_is_device_id(options->id) ||
             usage_error("--id", options->id, "must be [a-z0-9][a-z0-9-]{0,62}");
    valid &= options->count == 0 || options->id == NULL || strlen(options->id) <= 56 ||
             usage_error("--id", options->id, "with --count, at most 56 bytes: a number is appended");
    valid &= require(options->connect, "--connect HOST:PORT", "the bridge's link, such as 127.0.0.1:7443");
    valid &= options->connect == NULL ||
             (strlen(options->connect) < RESOLVE_TEXT_BYTES && resolve_split(options->connect, host, port)) ||
             usage_error("--connect", options->connect, "must be HOST:PORT, at most 63 bytes");
    valid &= options->identity != NULL ||
             require(options->ca, "--ca FILE", "the CA that the bridge's certificate leads to");
    valid &= check_identity(options);
    valid &= is_version(options->device_class) ||
             usage_error("--device-class", options->device_class, "must be 1 to 31 printable characters");
    valid &= check_slots(options);
    valid &= is_version(options->firmware_version) ||
             usage_error("--firmware-version", options->firmware_version, "must be 1 to 31 printable characters");
    valid &= options->backoff_min_ms <= options->backoff_max_ms ||
             usage_error("--backoff-min-ms", NULL, "must not be above --backoff-max-ms");
    if (!valid) {
        (void)fputs("Try: ygg-agent --help\n", stderr);
    }
    return valid;
}

/* YGG_AGENT_FIRMWARE_VERSION for --firmware-version, and YGG_AGENT_TOKEN for --enrol. */
static void name_variable(const struct option *flag, char name[NAME_BYTES])
{
    (void)snprintf(name, NAME_BYTES, "%s%s", prefix, flag->val == FLAG_ENROL ? "TOKEN" : flag->name);
    for (char *at = name; *at != '\0'; at++) {
        *at = *at == '-' ? '_' : (char)toupper((unsigned char)*at);
    }
}

static const char *from_environment(const struct option *flag)
{
    char name[NAME_BYTES];

    name_variable(flag, name);
    return getenv(name);
}

/* Checks one NAME=VALUE of the environment: either not ours, or a known option with a value. */
static bool check_variable(const char *entry)
{
    size_t length = strcspn(entry, "=");
    char name[NAME_BYTES];

    if (strncmp(entry, prefix, sizeof prefix - 1) != 0) {
        return true;
    }
    for (const struct option *flag = flags; flag->name != NULL; flag++) {
        name_variable(flag, name);
        if (flag->has_arg != no_argument && strlen(name) == length && strncmp(name, entry, length) == 0) {
            return entry[length] == '\0' || entry[length + 1] != '\0' ||
                   usage_error(name, NULL, "is empty: set a value or unset it");
        }
    }
    (void)snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), entry);
    return usage_error(name, NULL, "unknown option; see ygg-agent --help");
}

static bool read_environment(struct options *options)
{
    bool valid = true;

    for (char **entry = environ; *entry != NULL; entry++) {
        valid &= check_variable(*entry);
    }
    if (!valid) {
        return false;
    }

    for (const struct option *flag = flags; flag->name != NULL; flag++) {
        const char *value = flag->has_arg == no_argument ? NULL : from_environment(flag);

        valid &= value == NULL || read_value(options, flag->val, value);
    }
    return valid;
}

/* Sets the paths of the files in an identity directory. */
static void find_files(struct options *options)
{
    static char cert[PATH_BYTES];
    static char key[PATH_BYTES];
    static char ca[PATH_BYTES];

    if (options->identity != NULL) {
        (void)snprintf(cert, sizeof cert, "%s/cert.pem", options->identity);
        (void)snprintf(key, sizeof key, "%s/key.pem", options->identity);
        (void)snprintf(ca, sizeof ca, "%s/services.pem", options->identity);
        options->cert = cert;
        options->key = key;
        options->ca = ca;
    }
}

enum options_outcome options_read(struct options *options, int argc, char **argv)
{
    static struct token token;
    int flag = 0;

    *options = (struct options){
        .firmware_version = default_version,
        .device_class = "sim",
        .backoff_min_ms = BACKOFF_MIN_MS,
        .backoff_max_ms = BACKOFF_MAX_MS,
        .slot_bytes = SLOTS_BYTES_DEFAULT,
        .security_counter = 1,
        .trial_ms = SLOTS_TRIAL_MS_DEFAULT,
    };
    bool valid = read_environment(options);
    while ((flag = getopt_long(argc, argv, "", flags, NULL)) != -1) {
        switch (flag) {
        case FLAG_HELP:
            return fputs(help, stdout) < 0 ? OPTIONS_INVALID : OPTIONS_DONE;
        case FLAG_VERSION:
            return printf("ygg-agent %s\n", default_version) < 0 ? OPTIONS_INVALID : OPTIONS_DONE;
        case FLAG_PRINT_CAPABILITIES:
            return OPTIONS_PRINT_CAPABILITIES;
        default:
            valid &= read_value(options, flag, optarg);
        }
    }
    valid &= optind == argc || usage_error("unexpected argument", argv[optind], "options begin with --");
    valid &= check_token(options, &token);
    if (!check(options) || !valid) {
        return OPTIONS_INVALID;
    }
    find_files(options);
    return OPTIONS_RUN;
}
