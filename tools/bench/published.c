#include "tools/bench/published.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/banned.h"

enum { ENGINES = 3, SIZES = 3 };

static const char *const names[ENGINES][2] = {
    {"lsm", "LSMTree"}, {"hybridlog", "HybridLog"}, {"appendlog", "AppendLog"}};
static const uint64_t sizes[SIZES] = {100, 10000, 1000000};

/* Seconds of writes and reads, in the order of the enum. */
static const double seconds[SIZES][ENGINES][DISTRIBUTIONS][2] = {
    {
        {{0.741, 0.153}, {0.759, 0.158}, {0.768, 0.146}},
        {{0.374, 0.204}, {0.376, 0.236}, {0.364, 0.212}},
        {{2.116, 7.609}, {2.209, 7.524}, {2.184, 7.601}},
    },
    {
        {{0.930, 0.253}, {0.987, 1.291}, {0.939, 0.204}},
        {{0.785, 0.871}, {1.330, 2.377}, {1.283, 3.584}},
        {{2.230, 7.620}, {2.371, 7.703}, {2.434, 7.761}},
    },
    {
        {{2.488, 3.474}, {5.182, 7.186}, {5.611, 10.555}},
        {{1.172, 2.539}, {1.985, 4.844}, {1.793, 5.179}},
        {{2.569, 8.052}, {3.266, 8.366}, {3.290, 8.199}},
    },
};

static int engine_of(const char *engine)
{
    for (int e = 0; e < ENGINES; e++)
        if (strcmp(names[e][0], engine) == 0)
            return e;
    return -1;
}

const char *published_engine(const char *engine)
{
    int e = engine_of(engine);
    return e < 0 ? NULL : names[e][1];
}

double published_s(const char *engine, uint64_t items, enum distribution_kind kind, bool reads)
{
    int e = engine_of(engine);
    for (int size = 0; size < SIZES && e >= 0; size++)
        if (sizes[size] == items)
            return seconds[size][e][kind][reads];
    return NAN;
}
