/* The capability document as bytes, made from the tables on demand and never held whole.
 *
 * The bytes are those of yggdrasil.common.v1.CapabilityDocument as protobuf serialises it: fields in order, proto3
 * defaults left out. Golden vectors hold it to that. */
#ifndef YGG_DOCUMENT_H
#define YGG_DOCUMENT_H

#include "ygg/capability.h"
#include "ygg/hal.h"

/* YGG_ERR_ARGUMENT where the tables break a rule of capability.proto. A document may have no capabilities. */
enum ygg_err ygg_document_check(const struct ygg_document *document);

/* Size in bytes; 0 where it cannot be encoded. */
uint32_t ygg_document_size(const struct ygg_document *document);

/* Writes bytes [offset, offset + length) to `out`. YGG_ERR_ARGUMENT where the document has fewer. */
enum ygg_err ygg_document_read(const struct ygg_document *document, uint32_t offset, uint8_t *out, size_t length);

/* SHA-256 of the bytes. YGG_ERR_IO where the hash failed. */
enum ygg_err ygg_document_digest(const struct ygg_document *document, const struct ygg_hash *hash, void *hash_ctx,
                                 uint8_t digest[32]);

#endif
