/* The identity directory during enrolment: key.pem is written first, cert.pem last, each atomically.
 *
 * Does not own the meaning of certificates. */
#ifndef YGG_PORTS_POSIX_ENROL_FILES_H
#define YGG_PORTS_POSIX_ENROL_FILES_H

#include <sys/types.h>

#include "ports/posix/identity.h"

/* Creates the directory if missing, with mode 0700. Returns false and a `reason` on failure. */
bool enrol_directory(const char *directory, char reason[IDENTITY_REASON_BYTES]);

/* Returns the P-256 key of DIR/key.pem, creating it if missing; NULL and a `reason` on failure. The caller frees it. */
EVP_PKEY *enrol_key(const char *directory, char reason[IDENTITY_REASON_BYTES]);

/* Writes DIR/NAME atomically and durably: a crash leaves the old file or the new one. */
bool enrol_write(const char *directory, const char *name, const void *data, size_t size, mode_t mode,
                 char reason[IDENTITY_REASON_BYTES]);

/* Whether DIR/NAME exists. */
bool enrol_has(const char *directory, const char *name);

/* Returns the first certificate of DIR/cert.pem; NULL if missing or unreadable. The caller frees it. */
X509 *enrol_certificate(const char *directory);

/* Whether the content of DIR/NAME is this text. */
bool enrol_holds(const char *directory, const char *name, const char *text);

#endif
