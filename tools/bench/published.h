/* The figures of seed 003: what the author of the store that it describes measured and published in its README
 * (github.com/nikosgavalas/kvstore, "Some basic initial measurements"; machine and date are not told). Its engines are
 * written in Python, hold data in memory before they hand it to the kernel, and run one after the other in one process;
 * keys are 1 to 4 and values 0 to 4 random bytes. */
#ifndef TOOLS_BENCH_PUBLISHED_H
#define TOOLS_BENCH_PUBLISHED_H

#include <stdbool.h>

#include "tools/bench/distribution.h"

enum { PUBLISHED_OPS = 1000000 }; /* writes, then as many reads, of each cell */

/* What the seed calls the engine that is of the same kind as `engine` of plsm; NULL: it has none. */
const char *published_engine(const char *engine);

/* Seconds that it took for PUBLISHED_OPS writes or reads of `items` distinct keys. NAN: it was not measured. */
double published_s(const char *engine, uint64_t items, enum distribution_kind kind, bool reads);

#endif
