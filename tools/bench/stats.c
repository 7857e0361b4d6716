#include "tools/bench/stats.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

static void take(void *arg, const plsm_statistic *statistic)
{
    struct stats *out = arg;
    if (statistic->is_text || out->count == STATS_MAX)
        return;
    struct stats_item *item = &out->items[out->count++];
    snprintf(item->name, sizeof item->name, "%s", statistic->name);
    item->value = statistic->is_integer ? (double)statistic->integer : statistic->real;
}

void stats_read(plsm *db, struct stats *out)
{
    out->count = 0;
    plsm_statistics(db, take, out);
}

double stats_get(const struct stats *stats, const char *name)
{
    for (uint32_t i = 0; i < stats->count; i++)
        if (strcmp(stats->items[i].name, name) == 0)
            return stats->items[i].value;
    return NAN;
}

double stats_of_level(const struct stats *stats, unsigned level, const char *what)
{
    char name[STATS_NAME_SIZE];
    snprintf(name, sizeof name, "lsm.level.%u.%s", level, what);
    return stats_get(stats, name);
}

unsigned stats_levels(const struct stats *stats)
{
    unsigned levels = 0;
    for (unsigned level = 0; level < STATS_LEVELS_MAX; level++)
        if (stats_of_level(stats, level, "files") > 0)
            levels = level + 1;
    return levels;
}
