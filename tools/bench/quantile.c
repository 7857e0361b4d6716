#include "tools/bench/quantile.h"

#include <stdlib.h>

#include "base/error.h"

#include "base/banned.h"

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double pick(const double *sorted, size_t count, double fraction)
{
    double place = fraction * (double)(count - 1);
    size_t below = (size_t)place;
    if (below + 1 >= count)
        return sorted[count - 1];
    return sorted[below] + (place - (double)below) * (sorted[below + 1] - sorted[below]);
}

double quantile(double *values, size_t count, double fraction)
{
    INVARIANT(count > 0);
    qsort(values, count, sizeof *values, compare_doubles);
    return pick(values, count, fraction);
}

struct quartiles quartiles_of(double *values, size_t count)
{
    INVARIANT(count > 0);
    qsort(values, count, sizeof *values, compare_doubles);
    return (struct quartiles){pick(values, count, 0.25), pick(values, count, 0.5), pick(values, count, 0.75)};
}
