/* Membership in less memory: may a run hold this key? False negatives do not exist; false positives cost a page read.
 *
 * A bumped ribbon (BuRR: Dillinger, Huebschle-Schneider, Sanders and Walzer, "Fast Succinct Retrieval and Approximate
 * Membership Using Ribbon", SEA 2022; Dillinger and Walzer, "Ribbon filter: practically smaller than Bloom and Xor",
 * 2021) with ribbons of 64 bits and results of 1 to 16 bits. Beside the filter of filter.h it takes 10 % less memory
 * and about twice the time, to build and to ask; it reads neighbouring cache lines where that one reads three far
 * apart.
 *
 * Bits per key for each result bit: 1.014 (1 bit) to 1.006 (16 bits) from 500,000 keys on, so 7.06 for 7 bits; 1.02 for
 * 10,000, 1.12 for 1,000. False positives: a hash that is not in the set passes with probability 2^-bits, over the
 * choice of the hash function, unless it is one of those that no layer would take (the same share as of the keys,
 * mostly none): these are compared in full and never pass wrongly. */
#ifndef LEARN_RIBBON_H
#define LEARN_RIBBON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum { RIBBON_BITS_MIN = 1, RIBBON_BITS_MAX = 16, RIBBON_LAYERS_MAX = 4 };

/* A ribbon over its serialized bytes, which stay where they are and must outlive it. */
struct ribbon {
    struct {
        const uint8_t *words; /* the solution */
        const uint8_t *codes; /* which hashes went to the next layer */
        uint32_t starts;      /* in how many places a hash can start */
    } layers[RIBBON_LAYERS_MAX];
    const uint8_t *exceptions; /* what no layer took, in full */
    uint32_t layer_count, exception_count;
    uint32_t bits;
    bool vectors;  /* use AVX2 */
    uint64_t keys; /* hashes it was built from, equal ones counted each */
};

/* Appends the serialized ribbon over `count` hashes (key_hash of keys; equal ones allowed) to `out`. count 0 gives a
 * ribbon that answers no. The hashes are brought into the order in which they lie in the ribbon. The same hashes give
 * the same bytes. PLSM_INVALID when `bits` is out of range, PLSM_TOO_LARGE from 2^29 hashes on, PLSM_NO_MEMORY. The
 * caller adds its own checksum. */
plsm_status ribbon_build(uint64_t *hashes, size_t count, unsigned bits, struct buf *out);
/* Reads a serialized ribbon. PLSM_CORRUPT when its sizes do not fit together. */
plsm_status ribbon_open(plsm_slice bytes, struct ribbon *out);
/* False: no such key was in it. */
bool ribbon_may_contain(const struct ribbon *ribbon, uint64_t hash);
/* How many of the hashes are denied: 0 for those that the ribbon was built from. 10 to 20 ns per hash in the order in
 * which ribbon_build leaves them. */
size_t ribbon_missing(const struct ribbon *ribbon, const uint64_t *hashes, size_t count);
/* Brings what ribbon_may_contain will read for `hash` towards the cache; for groups of lookups. */
void ribbon_prefetch(const struct ribbon *ribbon, uint64_t hash);

#endif
