#include "ports/posix/platform.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum { LINE_BYTES = 1024, VALUE_BYTES = 320 };

uint64_t posix_now_ms(void)
{
    struct timespec now = {0};

    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* Cannot fail for this clock. */
    return (uint64_t)now.tv_sec * 1000U + (uint64_t)now.tv_nsec / 1000000U;
}

static uint64_t platform_now_ms(void *ctx)
{
    (void)ctx;
    return posix_now_ms();
}

bool posix_entropy(void *out, size_t size)
{
    ssize_t got = 0;

    do {
        got = getrandom(out, size, 0);
    } while (got < 0 && errno == EINTR);
    return got == (ssize_t)size;
}

/* SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15U);

    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31U);
}

static enum ygg_err platform_random(void *ctx, uint8_t *out, size_t size)
{
    struct posix_platform *platform = ctx;

    if (!platform->seeded) {
        return posix_entropy(out, size) ? YGG_OK : YGG_ERR_IO;
    }
    while (size > 0) {
        uint64_t word = next_random(&platform->prng);
        size_t part = size < sizeof word ? size : sizeof word;

        memcpy(out, &word, part);
        out += part;
        size -= part;
    }
    return YGG_OK;
}

void posix_printable(char *out, size_t size, const char *text)
{
    static const char hex[] = "0123456789abcdef";
    size_t at = 0;

    for (; *text != '\0' && at + 5 <= size; text++) {
        unsigned char byte = (unsigned char)*text;

        if (byte == '"' || byte == '\\') {
            out[at++] = '\\';
        }
        if (byte >= ' ' && byte < 0x7F) {
            out[at++] = (char)byte;
            continue;
        }
        out[at++] = '\\';
        out[at++] = 'x';
        out[at++] = hex[byte >> 4U];
        out[at++] = hex[byte & 0xFU];
    }
    out[at] = '\0';
}

static void format_time(char *out, size_t size)
{
    struct timespec now = {0};
    struct tm utc = {0};
    char seconds[32];

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &utc);
    (void)strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(out, size, "%s.%03ldZ", seconds, now.tv_nsec / 1000000L);
}

static size_t format_field(char *out, size_t size, const struct ygg_log_field *field)
{
    char value[VALUE_BYTES];
    int length = 0;

    if (field->text == NULL) {
        length = snprintf(out, size, " %s=%" PRIu64, field->key, field->number);
    } else {
        posix_printable(value, sizeof value, field->text);
        const char *quote = value[0] == '\0' || strpbrk(value, " =\"") != NULL ? "\"" : "";
        length = snprintf(out, size, " %s=%s%s%s", field->key, quote, value, quote);
    }
    return length < 0 ? 0 : (size_t)length < size ? (size_t)length : size - 1;
}

/* One write per line: lines of concurrent processes do not mix. */
static void platform_log(void *ctx, enum ygg_log_level level, const char *event, const struct ygg_log_field *fields,
                         size_t count)
{
    const struct posix_platform *platform = ctx;
    char time_text[48];
    char line[LINE_BYTES];

    if (level < platform->log_level) {
        return;
    }
    format_time(time_text, sizeof time_text);
    int head = snprintf(line, sizeof line - 1, "%s level=%s device=%s event=%s", time_text,
                        level == YGG_LOG_INFO ? "info" : "warning", platform->device_id, event);
    size_t at = head < 0 ? 0 : (size_t)head;
    for (size_t i = 0; i < count && at < sizeof line - 1; i++) {
        at += format_field(line + at, sizeof line - 1 - at, &fields[i]);
    }
    line[at] = '\n';
    (void)fwrite(line, 1, at + 1, stderr); /* A failure of stderr cannot be reported. */
}

const struct ygg_platform posix_platform = {
    .now_ms = platform_now_ms,
    .random = platform_random,
    .log = platform_log,
};

static enum ygg_err hash_begin(void *ctx)
{
    return EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 ? YGG_OK : YGG_ERR_IO;
}

static enum ygg_err hash_update(void *ctx, const uint8_t *data, size_t size)
{
    return EVP_DigestUpdate(ctx, data, size) == 1 ? YGG_OK : YGG_ERR_IO;
}

static enum ygg_err hash_finish(void *ctx, uint8_t digest[32])
{
    unsigned int length = 0;

    return EVP_DigestFinal_ex(ctx, digest, &length) == 1 && length == 32 ? YGG_OK : YGG_ERR_IO;
}

const struct ygg_hash posix_hash = {.begin = hash_begin, .update = hash_update, .finish = hash_finish};
