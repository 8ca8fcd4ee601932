/* The tables of the HAL that does nothing. */
#ifndef YGG_HAL_NOOP_H
#define YGG_HAL_NOOP_H

#include "ygg/hal.h"
#include "ygg/trust.h"

extern const struct ygg_transport ygg_noop_transport;
extern const struct ygg_hash ygg_noop_hash;
extern const struct ygg_platform ygg_noop_platform;
extern const struct ygg_flash_ops ygg_noop_flash;
extern const struct ygg_verify ygg_noop_verify;

#endif
