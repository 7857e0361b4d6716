/* Medians and quartiles of a few measurements. */
#ifndef TOOLS_BENCH_QUANTILE_H
#define TOOLS_BENCH_QUANTILE_H

#include <stddef.h>

struct quartiles {
    double first, median, third;
};

/* The value below which a fraction (0 to 1) of `count` (at least 1) values lies, between two of them in proportion:
 * of 1, 2, 3, 4 the median is 2.5 and the first quartile 1.75. Sorts the array. */
double quantile(double *values, size_t count, double fraction);
struct quartiles quartiles_of(double *values, size_t count); /* likewise */

#endif
