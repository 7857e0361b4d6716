/* `plsm bench billion`: a store of very many small entries, loaded in order, changed a little, and looked into. */
#ifndef TOOLS_BENCH_BILLION_H
#define TOOLS_BENCH_BILLION_H

#include "tools/bench/bench.h"

/* The most that the store of so many keys may take on disk while it is made. */
uint64_t billion_bytes(uint64_t keys);

enum tool_exit bench_billion(const struct tool *tool, const struct bench_plan *plan);

#endif
