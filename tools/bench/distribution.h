/* Which of n items is chosen next, by the three distributions that seed 003 compares engines with: the same laws and
 * the same parameters, by a generator of our own.
 *
 *   Zipfian   item i of n in proportion to 1 / (i + 1)^0.99: the first ones are the popular ones
 *   HotSet    items stand in 5 ranges of equal size (the first ones have one more where they must); one of them is hot
 *             for 100 draws, then the next one is, round and round; a draw is of the hot range 9 times of 10,
 *             otherwise of one of the others, all alike; within a range all are alike
 *   Uniform   all alike */
#ifndef TOOLS_BENCH_DISTRIBUTION_H
#define TOOLS_BENCH_DISTRIBUTION_H

#include "base/random.h"
#include "tools/bench/zipf.h"

enum distribution_kind { DISTRIBUTION_ZIPFIAN, DISTRIBUTION_HOTSET, DISTRIBUTION_UNIFORM, DISTRIBUTIONS };
extern const char *const distribution_names[DISTRIBUTIONS];

enum { HOTSET_RANGES = 5, HOTSET_DRAWS = 100, HOTSET_COLD_OF = 10 };

struct distribution {
    enum distribution_kind kind;
    uint64_t items;
    struct random random;
    struct zipf zipf;
    uint32_t hot, drawn; /* of HotSet: the hot range, and draws since it became that */
};

/* `items` at least 1, of HotSet at least HOTSET_RANGES. */
void distribution_init(struct distribution *d, enum distribution_kind kind, uint64_t items, uint64_t seed);
/* The next item, below `items`. */
uint64_t distribution_next(struct distribution *d);

/* The first item of a range of HotSet; of HOTSET_RANGES: the number of items. Of 12 items they begin at 0, 3, 6, 8, 10,
 * 12. */
uint64_t hotset_begin(uint64_t items, uint32_t range);

#endif
