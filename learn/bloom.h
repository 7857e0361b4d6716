/* A Bloom filter as textbooks and LevelDB have it: what index=classic uses, so that the other filters can be compared
 * with it. 10 bits per key, 7 hash functions, no prefetching.
 *
 * Bloom, "Space/time trade-offs in hash coding with allowable errors" (CACM 1970); the hash functions are made from one
 * by double hashing (Kirsch and Mitzenmacher, "Less Hashing, Same Performance", 2006), as in LevelDB. About 0.8 % false
 * positives. False negatives do not exist: a key's bits are set when it is added, and none is ever cleared. */
#ifndef LEARN_BLOOM_H
#define LEARN_BLOOM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum {
    BLOOM_FORMAT = 16, /* the first byte of a serialized one; smaller numbers are for the filters of filter.c */
    BLOOM_BITS_PER_KEY = 10,
    BLOOM_HASHES = 7, /* ln 2 times the bits per key, where false positives are fewest */
};

/* A filter over its serialized bytes, which stay where they are and must outlive it. */
struct bloom {
    const uint8_t *bits; /* NULL: not a Bloom filter (see struct filter) */
    uint64_t bit_count;
    uint64_t keys; /* hashes it was built from */
};

/* Appends the serialized filter over `count` hashes (key_hash of keys: they must be well mixed; duplicates allowed) to
 * `out`. count 0 gives a filter that answers no. PLSM_NO_MEMORY. The caller adds its own checksum around it. */
plsm_status bloom_build(const uint64_t *hashes, size_t count, struct buf *out);
/* Reads a serialized filter. PLSM_CORRUPT when its sizes do not fit together. */
plsm_status bloom_open(plsm_slice bytes, struct bloom *out);
/* False: no such key was in it. */
bool bloom_may_contain(const struct bloom *bloom, uint64_t hash);

#endif
