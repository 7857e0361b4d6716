#include "tools/bench/winner.h"

#include <math.h>

#include "tools/bench/quantile.h"

#include "base/banned.h"

static const double CLEARLY = 1.1;

struct spread spread_of(double *values, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (!isnan(values[i]))
            values[kept++] = values[i];
    if (kept == 0)
        return (struct spread){NAN, NAN, NAN};
    double median = quantile(values, kept, 0.5); /* sorts them */
    return (struct spread){values[0], median, values[kept - 1]};
}

static bool better(double one, double other, bool more)
{
    return more ? one > other : one < other;
}

double behind(double value, double best, bool more)
{
    if (!(value > 0) || !(best > 0))
        return NAN;
    return more ? best / value : value / best;
}

/* The best one but `without`; -1: there is none. */
static int best_of(const struct spread *spreads, uint32_t count, bool more, int without)
{
    int best = -1;
    for (uint32_t i = 0; i < count; i++) {
        if ((int)i == without || isnan(spreads[i].median))
            continue;
        if (best < 0 || better(spreads[i].median, spreads[best].median, more))
            best = (int)i;
    }
    return best;
}

struct winner winner_of(const struct spread *spreads, uint32_t count, bool more)
{
    struct winner winner = {.best = best_of(spreads, count, more, -1), .second = -1, .factor = NAN};
    if (winner.best < 0)
        return winner;
    winner.second = best_of(spreads, count, more, winner.best);
    if (winner.second < 0)
        return winner;
    const struct spread *best = &spreads[winner.best], *second = &spreads[winner.second];
    bool apart = more ? best->least > second->most : best->most < second->least;
    winner.factor = behind(second->median, best->median, more);
    winner.clear = apart && (isnan(winner.factor) || winner.factor >= CLEARLY);
    return winner;
}

double mean_of_ratios(const double *ratios, size_t count)
{
    double sum = 0;
    size_t known = 0;
    for (size_t i = 0; i < count; i++)
        if (!isnan(ratios[i])) {
            sum += log(ratios[i]);
            known++;
        }
    return known ? exp(sum / (double)known) : NAN;
}
