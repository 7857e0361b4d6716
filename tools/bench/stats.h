/* Statistics of a store, by name. */
#ifndef TOOLS_BENCH_STATS_H
#define TOOLS_BENCH_STATS_H

#include "store/plsm.h"

enum { STATS_MAX = 512, STATS_NAME_SIZE = 56, STATS_LEVELS_MAX = 16 };

struct stats {
    uint32_t count;
    struct stats_item {
        char name[STATS_NAME_SIZE];
        double value;
    } items[STATS_MAX];
};

void stats_read(plsm *db, struct stats *out);
/* NAN when there is none of that name. */
double stats_get(const struct stats *stats, const char *name);
/* "lsm.level.LEVEL.WHAT", likewise. */
double stats_of_level(const struct stats *stats, unsigned level, const char *what);
/* Levels that hold anything: one more than the deepest of them. */
unsigned stats_levels(const struct stats *stats);

#endif
