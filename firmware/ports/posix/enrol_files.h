/* The identity directory as an enrolment fills it: key.pem first, cert.pem last, each whole or not there.
 *
 * Does not own what certificates mean. */
#ifndef YGG_PORTS_POSIX_ENROL_FILES_H
#define YGG_PORTS_POSIX_ENROL_FILES_H

#include <sys/types.h>

#include "ports/posix/identity.h"

/* Makes the directory where it is not there, for its owner alone. False and a `reason` where that fails. */
bool enrol_directory(const char *directory, char reason[IDENTITY_REASON_BYTES]);

/* The key of DIR/key.pem, P-256; made and written where there is none. NULL and a `reason` where that fails. Yours to
 * free. */
EVP_PKEY *enrol_key(const char *directory, char reason[IDENTITY_REASON_BYTES]);

/* Writes DIR/NAME at once and for good: a crash leaves the old file or the new one. */
bool enrol_write(const char *directory, const char *name, const void *data, size_t size, mode_t mode,
                 char reason[IDENTITY_REASON_BYTES]);

/* Whether DIR/NAME is there. */
bool enrol_has(const char *directory, const char *name);

/* The first certificate of DIR/cert.pem; NULL where there is none that can be read. Yours to free. */
X509 *enrol_certificate(const char *directory);

/* Whether DIR/NAME holds exactly this text. */
bool enrol_holds(const char *directory, const char *name, const char *text);

#endif
