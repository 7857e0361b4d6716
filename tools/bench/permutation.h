/* A bijection of [0, count) without visible order, computed, not stored: what the i-th step of a random walk over all
 * indexes is, and which pseudo-random share of a universe is left out.
 *
 * A Feistel network (Luby and Rackoff 1988) of four rounds over pairs of a low and a high half, the high one counted
 * modulo what makes the domain as small as can be (Black and Rogaway 2002): the few numbers between count and the
 * domain's size are sent through again. Rounds multiply a number by itself with its halves exchanged, after the
 * squares of B. Widynski ("Squares: a fast counter-based RNG", 2020). That the shares it leaves out cannot be told from
 * coin flips is what tests/tools/test_shapes.c checks. About 6 ns. */
#ifndef TOOLS_BENCH_PERMUTATION_H
#define TOOLS_BENCH_PERMUTATION_H

#include <stdint.h>

#include "base/random.h"

enum { PERMUTATION_ROUNDS = 4 };

struct permutation {
    uint64_t count, low_mask, high_count;
    unsigned low_bits;
    struct {
        uint64_t multiplier, offset;
    } rounds[PERMUTATION_ROUNDS];
};

/* count: 1 to 2^62. */
static inline void permutation_init(struct permutation *p, uint64_t count, uint64_t seed)
{
    unsigned bits = count > 4 ? 64 - (unsigned)__builtin_clzll(count - 1) : 2;
    p->count = count;
    p->low_bits = bits / 2;
    p->low_mask = (UINT64_C(1) << p->low_bits) - 1;
    p->high_count = (count + p->low_mask) >> p->low_bits;
    for (int i = 0; i < PERMUTATION_ROUNDS; i++) {
        p->rounds[i].multiplier = splitmix64(&seed) | 1;
        p->rounds[i].offset = splitmix64(&seed);
    }
}

static inline uint64_t permutation_hash(const struct permutation *p, int round, uint64_t half)
{
    uint64_t x = half * p->rounds[round].multiplier + p->rounds[round].offset;
    return x * (x >> 32 | x << 32);
}

static inline uint64_t permutation_rounds(const struct permutation *p, int round, uint64_t i)
{
    uint64_t low = i & p->low_mask, high = i >> p->low_bits;
    low ^= permutation_hash(p, round, high) >> (64 - p->low_bits);
    high += ((permutation_hash(p, round + 1, low) >> 32) * p->high_count) >> 32;
    high -= high >= p->high_count ? p->high_count : 0;
    return high << p->low_bits | low;
}

/* Where i, below count, goes. */
static inline uint64_t permutation_at(const struct permutation *p, uint64_t i)
{
    do
        i = permutation_rounds(p, 2, permutation_rounds(p, 0, i));
    while (__builtin_expect(i >= p->count, 0));
    return i;
}

#endif
