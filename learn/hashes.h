/* What the filters share: arrays of 64-bit hashes of keys. Private to learn/. */
#ifndef LEARN_HASHES_H
#define LEARN_HASHES_H

#include <stddef.h>
#include <stdint.h>

/* The finalizer of MurmurHash3 (Appleby) over hash + seed: every bit of the result depends on every bit of both, and
 * different hashes have different results. */
static inline uint64_t hash_mix(uint64_t hash, uint64_t seed)
{
    hash += seed;
    hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccdu;
    hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53u;
    return hash ^ (hash >> 33);
}

/* `mixed` scaled to [0, bound), without changing the order (Lemire 2019). `bound` must not be 0. */
static inline uint32_t hash_scale(uint64_t mixed, uint32_t bound)
{
    return (uint32_t)(((unsigned __int128)mixed * bound) >> 64);
}

/* Sorts in ascending order, in linear time whatever the hashes are. `scratch` has room for `count` as well. */
void hashes_sort(uint64_t *hashes, uint64_t *scratch, size_t count);

/* Keeps one of each group of equal neighbours; returns how many those are. */
size_t hashes_drop_neighbours(uint64_t *hashes, size_t count);

#endif
