/* `plsm bench growth`: time per operation against the number of keys. */
#ifndef TOOLS_BENCH_GROWTH_H
#define TOOLS_BENCH_GROWTH_H

#include "tools/bench/bench.h"

enum tool_exit bench_growth(const struct tool *tool, const struct bench_plan *plan);

/* The sizes: 100,000, 300,000, 1,000,000 and so on up to `most`, which is the last one (and the first, where it is
 * below 100,000). Returns how many were put into `sizes`. */
enum { GROWTH_SIZES_MAX = 16 };
uint32_t growth_sizes(uint64_t most, uint64_t sizes[GROWTH_SIZES_MAX]);

#endif
