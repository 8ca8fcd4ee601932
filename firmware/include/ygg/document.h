/* The capability document as bytes, generated from the tables on demand and never held in RAM as a whole.
 *
 * The bytes are those of yggdrasil.common.v1.CapabilityDocument as protobuf serialises it: fields in order, proto3
 * defaults omitted. Golden vectors check this. */
#ifndef YGG_DOCUMENT_H
#define YGG_DOCUMENT_H

#include "ygg/capability.h"
#include "ygg/hal.h"

/* Checks a document against the rules of capability.proto. YGG_ERR_ARGUMENT: it breaks one. No capabilities are
 * valid. */
enum ygg_err ygg_document_check(const struct ygg_document *document);

/* Returns the size in bytes; 0 if the document cannot be encoded. */
uint32_t ygg_document_size(const struct ygg_document *document);

/* Writes bytes [offset, offset + length) to `out`. YGG_ERR_ARGUMENT: the document is shorter. */
enum ygg_err ygg_document_read(const struct ygg_document *document, uint32_t offset, uint8_t *out, size_t length);

/* Computes the SHA-256 of the bytes. YGG_ERR_IO: the hash failed. */
enum ygg_err ygg_document_digest(const struct ygg_document *document, const struct ygg_hash *hash, void *hash_ctx,
                                 uint8_t digest[32]);

#endif
