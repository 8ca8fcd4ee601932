#include "ports/posix/resolve.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>

enum { KEEP_MS = 2000 };

bool resolve_split(const char *text, char host[RESOLVE_TEXT_BYTES], char port[8])
{
    const char *colon = strrchr(text, ':');
    char *end = NULL;

    if (colon == NULL || colon == text || strlen(colon + 1) >= 8 || (size_t)(colon - text) >= RESOLVE_TEXT_BYTES) {
        return false;
    }
    bool bracketed = text[0] == '[' && colon[-1] == ']';
    const char *from = bracketed ? text + 1 : text;
    size_t length = (size_t)((bracketed ? colon - 1 : colon) - from);
    long number = strtol(colon + 1, &end, 10);
    if (length == 0 || colon[1] < '0' || colon[1] > '9' || *end != '\0' || number < 1 || number > 65535) {
        return false;
    }
    memcpy(host, from, length);
    host[length] = '\0';
    memcpy(port, colon + 1, strlen(colon + 1) + 1);
    return true;
}

static void keep(struct resolved *cache, const struct addrinfo *list)
{
    cache->count = 0;
    for (; list != NULL && cache->count < RESOLVE_ADDRESSES_MAX; list = list->ai_next) {
        memcpy(&cache->at[cache->count].address, list->ai_addr, list->ai_addrlen);
        cache->at[cache->count].length = list->ai_addrlen;
        cache->count++;
    }
}

const char *resolve(struct resolved *cache, const char *text, uint64_t now_ms)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *list = NULL;
    char port[8];

    if (cache->count > 0 && now_ms < cache->until_ms && strcmp(cache->text, text) == 0) {
        return NULL;
    }
    cache->count = 0;
    if (strlen(text) >= sizeof cache->text || !resolve_split(text, cache->host, port)) {
        return "the address is not HOST:PORT";
    }
    int failed = getaddrinfo(cache->host, port, &hints, &list);
    if (failed != 0) {
        return gai_strerror(failed);
    }
    keep(cache, list);
    freeaddrinfo(list);
    memcpy(cache->text, text, strlen(text) + 1);
    cache->until_ms = now_ms + KEEP_MS;
    return NULL;
}
