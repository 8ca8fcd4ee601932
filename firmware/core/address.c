/* Validation of addresses that a bridge redirects to. Pure. */
#include <string.h>

#include "core/internal.h"

enum { PORT_MAX = 65535, PORT_DIGITS_MAX = 5 };

static bool is_host_letter(char letter)
{
    return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') || (letter >= '0' && letter <= '9') ||
           letter == '.' || letter == '-' || letter == '_';
}

/* A name or IPv4 address, or an IPv6 address in brackets. */
static bool host_fits(const char *host, size_t length)
{
    bool bracketed = length > 2 && host[0] == '[' && host[length - 1] == ']';

    for (size_t i = bracketed ? 1 : 0; i < (bracketed ? length - 1 : length); i++) {
        if (!is_host_letter(host[i]) && !(bracketed && (host[i] == ':' || host[i] == '%'))) {
            return false;
        }
    }
    return length > 0;
}

static bool port_fits(const char *port)
{
    uint32_t number = 0;
    size_t digits = strspn(port, "0123456789");

    if (digits == 0 || digits > PORT_DIGITS_MAX || port[digits] != '\0') {
        return false;
    }
    for (size_t i = 0; i < digits; i++) {
        number = number * 10 + (uint32_t)(port[i] - '0');
    }
    return number >= 1 && number <= PORT_MAX;
}

bool ygg_address_is_valid(const char *address)
{
    const char *colon = strrchr(address, ':');

    return colon != NULL && strlen(address) < YGG_ADDRESS_BYTES && host_fits(address, (size_t)(colon - address)) &&
           port_fits(colon + 1);
}
