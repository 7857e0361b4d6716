/* An exact set of the keys of one sorted run, for keys that are dense numbers: no false positives, no false negatives.
 *
 * Counters, zero-padded decimal or hexadecimal numbers, time series: such keys cost H(density) / density bits each at
 * least, which is next to nothing where no number is missing, while a filter costs 9 bits and errs. A key is taken
 * apart into a prefix, a number of fixed width (big-endian bytes, decimal digits, lower or upper hex digits) and a
 * suffix that is the same for all keys:
 *
 *     key  [ prefix: any bytes, any length | number: 1 to 19 bytes | suffix ]
 *
 * All numbers behind one prefix are a group. A group is cut into segments, each an arithmetic progression of positions;
 * which positions of a segment are taken is either nothing to say (all of them), a bitmap, or blocks in Elias-Fano
 * coding (Elias 1974, Fano 1971) of the taken or the missing positions, whichever are fewer, as in partitioned
 * Elias-Fano indexes (Ottaviano and Venturini, SIGIR 2014). Groups are found through a hash table, segments by binary
 * search over their starts. Steps are divided by with a multiplication (Granlund and Montgomery, PLDI 1994, section 9),
 * which also tells whether the division leaves a rest.
 *
 * What alphabet, width and suffix to use is decided on the first keys; the builder then gives up as soon as the set
 * would be larger than the caller's alternative. */
#ifndef LEARN_EXACT_H
#define LEARN_EXACT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

/* --- building: every key once, ascending --- */

struct exact_builder;

/* A builder that gives up when the set costs more than `bits_per_key_max` (what the caller would pay for a filter).
 * NULL: no memory. */
struct exact_builder *exact_builder_create(double bits_per_key_max);
void exact_builder_destroy(struct exact_builder *b); /* accepts NULL */

/* Adds the next key; it is copied as far as needed. `shared`: so many bytes are known to be those of the key before, in
 * the same places; 0: nothing is. PLSM_OK also when the builder gave up, now or before: then it has
 * freed what it kept, and each further call costs a branch. PLSM_INVALID when the key is empty or, as long as the
 * builder has not given up, not above the one before; PLSM_NO_MEMORY. Behind an error the builder has given up.
 *
 * While it has not, it keeps about 1,024 keys, and later up to about 8 bytes a key (next to none where keys are evenly
 * spaced). */
plsm_status exact_builder_add(struct exact_builder *b, plsm_slice key, size_t shared);

/* False: it gave up, exact_builder_finish will build nothing. */
bool exact_builder_alive(const struct exact_builder *b);

/* Appends the serialized set to `out` and sets *built; or leaves `out` as it is and clears *built, when there were no
 * keys, they do not fit, or the set is larger than bits_per_key_max * keys. Call it once. PLSM_NO_MEMORY leaves `out`
 * as it is. The caller adds its own checksum around the bytes. Every key is looked up in the set before it is given
 * out. */
plsm_status exact_builder_finish(struct exact_builder *b, struct buf *out, bool *built);

/* Keys that were not found by that: 0, or the library has an error, and nothing was built. */
uint64_t exact_builder_missed(const struct exact_builder *b);

/* --- reading --- */

/* Numbers start + i * step, i from 0 to `last`, of which some are taken: see exact.c. */
struct exact_segment {
    uint64_t start, last;
    const uint8_t *data; /* which are taken; data_size bytes */
    uint64_t data_size;
    uint64_t inverse; /* of the odd part of the step, which is shifted by `shift` */
    unsigned shift, block_log2;
};

/* A set over its serialized bytes, which stay where they are and must outlive it. Nothing is allocated. */
struct exact {
    const uint8_t *samples, *hints, *classes, *common, *suffix, *slots, *offsets, *prefixes, *firsts, *records, *data;
    uint64_t keys, start_base, data_size, size;
    /* Fields are read as whole words and cut by these; those of a number are the ones that its first word keeps. */
    uint64_t start_mask, span_mask, at_mask, class_mask, slot_mask, index_mask, number_mask;
    struct exact_segment only; /* the segment, when there is but one */
    uint32_t groups, segments, class_count, slot_count, sample_count, hint_buckets;
    uint32_t common_size, suffix_size;                               /* bytes that all keys begin and end with */
    uint32_t rest_min, rest_max;                                     /* bytes of a prefix behind what all share */
    uint8_t alphabet, width;                                         /* of the numbers; width in bytes */
    uint8_t start_size, span_size, at_size, class_size, record_size; /* of the fields of a segment, in bytes */
    uint8_t slot_size, offset_size, first_size;                      /* of an entry of these arrays, in bytes */
    uint8_t index_bits;                                              /* of a slot, that name a group */
    uint8_t hint_shift;
    bool fast_select; /* bits are found with instructions for it */
};

/* Reads a serialized set and checks its whole structure. PLSM_CORRUPT when it does not fit together. */
plsm_status exact_open(plsm_slice bytes, struct exact *out);

/* Is the key in the set? Any bytes may be asked for, from any thread. */
bool exact_contains(const struct exact *set, plsm_slice key);

/* Is there a key in the set that begins with `prefix` (which may be empty, or a whole key)? Exact as well; costs a
 * search over the groups and a few lookups. */
bool exact_has_prefix(const struct exact *set, plsm_slice prefix);

/* Brings what exact_contains will read for `key` towards the cache, as far as that can be known without waiting for
 * much: for groups of lookups. */
void exact_prefetch(const struct exact *set, plsm_slice key);

/* Bytes that the set occupies: the serialized ones. */
static inline size_t exact_memory(const struct exact *set)
{
    return (size_t)set->size;
}

/* Keys in the set. */
static inline uint64_t exact_keys(const struct exact *set)
{
    return set->keys;
}

/* What a set is made of. */
struct exact_info {
    const char *alphabet; /* "binary", "decimal", "hex", "HEX"; static */
    unsigned width;       /* of a number, bytes */
    uint64_t groups;
    uint64_t progressions, bitmaps, coded; /* segments without gaps; with a bitmap; in blocks */
    uint64_t bitmap_bytes, coded_bytes;    /* of their positions */
    uint64_t group_bytes, segment_bytes;   /* of prefixes and the hash table; of the list of segments */
};

/* Walks all segments. */
void exact_get_info(const struct exact *set, struct exact_info *out);

#endif
