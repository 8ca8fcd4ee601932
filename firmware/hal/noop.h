/* The tables of the HAL that does nothing. */
#ifndef YGG_HAL_NOOP_H
#define YGG_HAL_NOOP_H

#include "ygg/hal.h"

extern const struct ygg_transport ygg_noop_transport;
extern const struct ygg_hash ygg_noop_hash;
extern const struct ygg_platform ygg_noop_platform;

#endif
