/* ECDSA on P-256 by OpenSSL, for the signatures of updates. */
#ifndef YGG_PORTS_POSIX_VERIFY_H
#define YGG_PORTS_POSIX_VERIFY_H

#include "ygg/trust.h"

extern const struct ygg_verify posix_verify; /* No context. */

#endif
