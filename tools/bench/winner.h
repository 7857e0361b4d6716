/* Who wins, from measured figures alone. */
#ifndef TOOLS_BENCH_WINNER_H
#define TOOLS_BENCH_WINNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What was measured of one contender, several times. NAN for all: it was not, or it cannot do this. */
struct spread {
    double least, median, most;
};

/* Of `count` values, those that are NAN left out. Sorts them. */
struct spread spread_of(double *values, size_t count);

struct winner {
    int best;      /* the contender with the best median; -1: there is none */
    int second;    /* the next; -1: there was one alone */
    double factor; /* how many times better the best one is than the second; NAN without a second, or where the better
                      one has 0 */
    bool clear;    /* by a tenth at least, and in each of its runs better than the second in any of its own */
};

/* `more`: the larger figure is the better one; otherwise the smaller. Medians of three contenders, lower is better,
 * of 10, 12 and 30 and runs of 9 to 11, 11.5 to 14 and 25 to 40: the first wins over the second by 1.2, clearly. */
struct winner winner_of(const struct spread *spreads, uint32_t count, bool more);

/* How many times worse `value` is than `best`: 1 where they are equal, 2 where it takes twice the time. NAN where that
 * cannot be told (one of them is NAN, or not above 0). */
double behind(double value, double best, bool more);

/* The mean of ratios: that whose logarithm is the mean of theirs (Fleming and Wallace 1986), as 2 and 1/2 are even.
 * NANs are left out; NAN when all are. */
double mean_of_ratios(const double *ratios, size_t count);

#endif
