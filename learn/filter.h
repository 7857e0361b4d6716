/* Membership: may a run hold this key? False negatives do not exist; false positives cost a page read.
 *
 * A binary fuse filter (Graf and Lemire, "Binary Fuse Filters", 2022) with 3-wise segments and fingerprints of 1 to 16
 * bits, packed, so that bits per level can follow Monkey (Dayan, Athanassoulis, Idreos, SIGMOD 2017). False positive
 * rate 2^-bits. Bits per key for each fingerprint bit: 1.26 for 10,000 keys, 1.18 for 60,000, at most 1.1375 from
 * 500,000 on, 1.12 for 10^7. */
#ifndef LEARN_FILTER_H
#define LEARN_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "learn/blocked.h"
#include "learn/bloom.h"

enum {
    FILTER_BITS_LEAST = 1, /* of a part of a filter (learn/partitioned.h) */
    FILTER_BITS_MIN = 4,   /* of the filter of a run */
    FILTER_BITS_MAX = 16
};

/* A filter over its serialized bytes, which stay where they are and must outlive it. */
struct filter {
    const uint8_t *fingerprints;
    uint64_t seed;
    uint32_t segment_length, segment_length_mask, segment_count_length; /* names as in the paper's reference */
    uint32_t bits;
    uint64_t keys; /* distinct hashes it was built from */
    struct bloom bloom; /* with bits: the filter is this one, and has no segments */
    struct blocked blocked; /* with blocks: the same */
};

/* Appends the serialized filter over `count` hashes (key_hash of keys; duplicates allowed) to `out`. count 0 gives a
 * filter that answers no. The hashes are brought into the order in which they lie in the filter: the first `keys` of
 * them are then the distinct ones, each once, and the rest repeats some of them. 30 to 60 ns per key. PLSM_INVALID when
 * `bits` is out of range, PLSM_TOO_LARGE from 2^29 hashes on, PLSM_NO_MEMORY. The caller adds its own checksum. */
plsm_status filter_build(uint64_t *hashes, size_t count, unsigned bits, struct buf *out);
/* Serialized bytes of a filter over `keys` distinct hashes (of one that needs no second table size, as practically all
 * do), for whoever weighs it against something else. `bits` as for filter_build. */
uint64_t filter_size(uint64_t keys, unsigned bits);
/* Reads a serialized filter, also one of learn/bloom.h or learn/blocked.h. PLSM_CORRUPT when its sizes do not fit
 * together. */
plsm_status filter_open(plsm_slice bytes, struct filter *out);
/* False: no such key was in it. */
bool filter_may_contain(const struct filter *filter, uint64_t hash);
/* How many of the hashes are denied: 0 for those that the filter was built from. 4 to 8 ns per hash in the order in
 * which filter_build leaves them, whatever the size, and in any order while the filter fits the cache. */
size_t filter_missing(const struct filter *filter, const uint64_t *hashes, size_t count);
/* Brings the three places that filter_may_contain will read for `hash` towards the cache; for groups of lookups. (To
 * gcc a function that only prefetches has no effect: within its source file it would leave out a call.) */
void filter_prefetch(const struct filter *filter, uint64_t hash);

/* Monkey's policy: fingerprint bits for a run on `level` of a tree whose last level is `last_level`, with `bits_last`
 * on the last level: each level above, smaller by size_ratio, gets log2(size_ratio) more bits, up to FILTER_BITS_MAX.
 * Worked example: bits_last 8, ratio 10, levels 0..3: 16, 14 (8 + 6.6, rounded down), 11, 8. Pure. */
unsigned filter_bits_for_level(unsigned level, unsigned last_level, unsigned bits_last, unsigned size_ratio);
/* Fingerprint bits for a false positive rate of at most `parts_per_million`: 4000 (0.4 %) gives 8, 10000 gives 7. Pure.
 * */
unsigned filter_bits_for_rate(uint64_t parts_per_million);

#endif
