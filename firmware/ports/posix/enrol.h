/* Enrolment: a device without a certificate obtains its first one, before anything else starts.
 *
 * Blocks until it succeeds or is rejected. If the registry cannot be reached, it retries, since a device may be
 * switched on before its mesh. The key is stored before it is used, so that an interrupted start uses the same key
 * again. */
#ifndef YGG_PORTS_POSIX_ENROL_H
#define YGG_PORTS_POSIX_ENROL_H

#include "ports/posix/options.h"
#include "ports/posix/identity.h"

/* Enrols if options->token is set and options->identity has no certificate of that token. Returns false and a `reason`
 * with advice on failure. */
bool enrol(const struct options *options, char reason[IDENTITY_REASON_BYTES]);

#endif
