/* A blocked Bloom filter: what runs have that a flush wrote. Such a run is merged away soon, so what counts is how fast
 * the filter is made: a fifth of the instructions of a fuse filter. It is also asked faster, at one place instead of
 * three, which is why all runs may have it (filter=blocked).
 *
 * Putze, Sanders, Singler, "Cache-, Hash- and Space-Efficient Bloom Filters" (JEA 2009); the layout of a block is that
 * of the split block filters of Impala and Parquet: 256 bits in 8 words of 32, and each key sets one bit in each word.
 * So a lookup reads 32 bytes in one place. False positives: 12 bits per key 0.54 %, 16 bits 0.13 %, 24 bits 0.016 %.
 * False negatives do not exist: a key's bits are set when it is added, and none is ever cleared. */
#ifndef LEARN_BLOCKED_H
#define LEARN_BLOCKED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum {
    BLOCKED_FORMAT = 17, /* the first byte of a serialized one; see BLOOM_FORMAT */
    BLOCKED_BITS_MIN = 8,
    BLOCKED_BITS_MAX = 24,
};

/* A filter over its serialized bytes, which stay where they are and must outlive it. */
struct blocked {
    const uint8_t *blocks; /* NULL: not such a filter (see struct filter) */
    uint32_t block_count;
    uint64_t keys; /* hashes it was built from */
};

/* The bits per key of a run that would get a fuse filter with that many fingerprint bits: half as many more, so that it
 * is a third larger than that one (1.13 bits each) and seldom errs more than twice as often; a run that nothing
 * overlaps may be moved to a deeper level as it is, and stay. Worked example: 8 gives 12 (0.54 % false positives beside
 * 0.39 %), 11 gives 16 (0.13 % beside 0.05 %), 16 gives 24. Pure. */
unsigned blocked_bits_for(unsigned fingerprint_bits);
/* Appends the serialized filter over `count` hashes (key_hash of keys: they must be well mixed; duplicates allowed) to
 * `out`. count 0 gives a filter that answers no. PLSM_NO_MEMORY, PLSM_TOO_LARGE from 2^32 blocks on. The caller adds
 * its own checksum around it. */
plsm_status blocked_build(const uint64_t *hashes, size_t count, unsigned bits_per_key, struct buf *out);
/* Reads a serialized filter. PLSM_CORRUPT when its sizes do not fit together. */
plsm_status blocked_open(plsm_slice bytes, struct blocked *out);
/* False: no such key was in it. */
bool blocked_may_contain(const struct blocked *blocked, uint64_t hash);
/* How many of the hashes are denied: 0 for those that it was built from. */
size_t blocked_missing(const struct blocked *blocked, const uint64_t *hashes, size_t count);
/* For tests: builds and checks without vector instructions, or with them where there are some. The bytes and answers
 * must be the same. */
void blocked_use_portable(bool on);
/* Where blocked_may_contain will read for `hash`; NULL: nowhere. */
const void *blocked_place(const struct blocked *blocked, uint64_t hash);

#endif
