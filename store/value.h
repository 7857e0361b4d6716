/* The reference: what stands in the tree for a value that is kept in extents.
 *
 * The value of an entry of kind BATCH_REFERENCE in the keyspace of names, of the record of that extent id in the
 * keyspace of inodes, and of the marker of an orphan in the internal keyspace:
 *
 *   offset  size
 *        0     8  extent id: under which the pieces stand in the keyspace of extents
 *        8     8  size of the value in bytes
 *       16     8  generation: the newest published one; pieces of a newer generation are not part of the value
 *       24     8  extents: how many pieces the published value has
 *       32     8  uniform: the generation that all of these pieces have, or 0 when they differ or there is none
 *
 * All numbers little-endian.
 *
 * Of kind BATCH_REFERENCE as well, in the keyspace of names, is a link: its value is the u64 identifier of a value that
 * several names may share (shared.h). The two differ in size. */
#ifndef STORE_VALUE_H
#define STORE_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "store/plsm.h"

enum { EXTENT_SIZE = 128 << 10 }; /* bytes of a piece: shared facts name about 128 KiB; the same as PLSM_INLINE_MAX */
enum { REFERENCE_SIZE = 40 };

struct reference {
    uint64_t id, size, generation, extents, uniform;
};

_Static_assert(sizeof(struct reference) == REFERENCE_SIZE, "five numbers and nothing between");
_Static_assert(EXTENT_SIZE == PLSM_INLINE_MAX, "a small value that grows becomes extent 0 as it is");

void reference_encode(const struct reference *reference, uint8_t out[REFERENCE_SIZE]);
/* PLSM_CORRUPT when the bytes cannot be a reference. */
plsm_status reference_decode(plsm_slice bytes, struct reference *out);

/* Pieces that a value of this size has room for. */
static inline uint64_t extents_of(uint64_t size)
{
    return size / EXTENT_SIZE + (size % EXTENT_SIZE != 0);
}

/* Bytes that pieces of a value take: whole pieces, but no more than the value has. */
static inline uint64_t stored_of(uint64_t pieces, uint64_t size)
{
    return pieces < extents_of(size) ? pieces * EXTENT_SIZE : size;
}

/* Whether every piece is there and of one generation, so that their keys are known without looking. */
static inline bool reference_is_dense(const struct reference *reference)
{
    return reference->uniform != 0 && reference->extents == extents_of(reference->size);
}

#endif
