/* Enrolment: how a device without a certificate gets its first one, before anything else is started.
 *
 * Blocks until it is done or refused; where the registry cannot be reached it tries again, as a device that is switched on
 * before its mesh has to. The key is written before it is used, so that a start that is cut off asks with the same one. */
#ifndef YGG_PORTS_POSIX_ENROL_H
#define YGG_PORTS_POSIX_ENROL_H

#include "ports/posix/options.h"
#include "ports/posix/identity.h"

/* Fills options->identity where options->token says so and it has no certificate yet. False and a `reason` that says
 * what to do where that was refused. */
bool enrol(const struct options *options, char reason[IDENTITY_REASON_BYTES]);

#endif
